import ArgumentParser
import TestBed

struct Image: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make the guest image unless the cache has it, and print its directory.",
    discussion: "Needs root and the package archive, so run it outside of scripts/lab.sh.")

  func run() async throws {
    let image = try await GuestImage.ensure(report: Report.line)
    print(image.directory)
  }
}
