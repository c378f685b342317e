import FuzzTargets
import Glibc
import LinuxSystem
import Testing

@Suite struct CorpusTests {
  /// What was found once stays mended, and what holds for libFuzzer's build holds for this one.
  @Test(arguments: FuzzTarget.all.map(\.name))
  func everyInputOfTheCorpus(_ name: String) async throws {
    let target = try #require(FuzzTarget.all.first { $0.name == name })
    // Targets block their thread.
    let count = try await onBlockingThread("corpus") {
      let inputs = try Corpus(name).inputs()
      for (file, bytes) in inputs {
        do {
          try bytes.withUnsafeBytes { try target.run($0) }
        } catch {
          Issue.record("\(file): \(error)")
        }
      }
      return inputs.count
    }
    #expect(count > 0)
  }
}

/// The inputs in `Tests/Fuzzing/Corpus` that are kept for a target.
struct Corpus {
  private let directory: String

  init(_ target: String, tests: String = #filePath) {
    let above = tests.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
    directory = above.joined(separator: "/") + "/Fuzzing/Corpus/" + target
  }

  /// File names and contents.
  func inputs() throws -> [(String, [UInt8])] {
    try KernelFile.names(in: directory).sorted().map { name in
      (name, try KernelFile.bytes(directory + "/" + name))
    }
  }
}
