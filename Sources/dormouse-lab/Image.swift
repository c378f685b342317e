import ArgumentParser
import TestBed

struct Image: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make the images unless the cache has them, and print their directories.",
    discussion: "Needs root and the package archive, so run it outside of scripts/lab.sh.")

  func run() async throws {
    for kind in GuestImage.Kind.allCases {
      let image = try await GuestImage.ensure(kind, report: Report.line)
      print(image.directory)
    }
  }
}
