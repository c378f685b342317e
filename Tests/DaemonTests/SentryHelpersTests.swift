import Daemon
import FoundationEssentials
import Glibc
import LinuxSystem
import Seamless
import Synchronization
import Testing

@Suite("Questions about traffic")
struct TrafficQuestionsTests {
  private final class Asked: Sendable {
    let messages = Mutex<[[String]]>([])
  }

  private static func report(_ name: String) -> TrafficReport {
    TrafficReport(
      name: name, phase: .learning, secondsSinceUse: 1, framesOfUse: 2, obstacles: [],
      addresses: [name], answeredFrames: 0)
  }

  @Test func thoseOfOneMomentAreAskedTogether() async throws {
    let questions = TrafficQuestions()
    let asked = Asked()
    let answers = try await withThrowingTaskGroup(of: String.self) { group in
      for number in 0..<600 {
        group.addTask {
          try await questions.report(of: "vm\(number)") { names in
            asked.messages.withLock { $0.append(names) }
            return names.map { Self.report($0) }
          }.addresses[0]
        }
      }
      return try await group.reduce(into: Set<String>()) { $0.insert($1) }
    }
    #expect(answers == Set((0..<600).map { "vm\($0)" }))
    let messages = asked.messages.withLock { $0 }
    #expect(messages.count < 60)
    #expect(messages.allSatisfy { $0.count <= 512 })
  }

  @Test func aMachineThatTheSentryDoesNotKnowIsRefusedAlone() async throws {
    let questions = TrafficQuestions()
    async let known = questions.report(of: "a") { names in
      names.filter { $0 == "a" }.map { Self.report($0) }
    }
    async let unknown = questions.report(of: "b") { names in
      names.filter { $0 == "a" }.map { Self.report($0) }
    }
    #expect(try await known.name == "a")
    do {
      _ = try await unknown
      Issue.record("nobody knows it")
    } catch {
      #expect((error as? SentryError)?.code == .refused)
    }
  }

  @Test func aSentryThatIsLostIsLostForAllWhoAsk() async throws {
    let questions = TrafficQuestions()
    await #expect(throws: LinuxError.self) {
      try await questions.report(of: "a") { _ in
        throw LinuxError(code: .gone, message: "lost")
      }
    }
  }
}

@Suite("The sentry's log")
struct SentryLogTests {
  @Test func itIsCutWhenItHasGrownTooLongAndWrittenOn() throws {
    let path =
      FileManager.default.temporaryDirectory.path() + "sentry-\(UInt64.random(in: 0 ... .max))"
    let log = SentryLog(path: path)
    defer { for file in [path, log.older] { try? FileManager.default.removeItem(atPath: file) } }
    // None yet.
    try log.bound()
    let writer = try #require(OutputStreamFile(path))
    try writer.write([UInt8](repeating: 65, count: SentryLog.limit))
    try log.bound()
    #expect(try Data(contentsOf: URL(filePath: path)).count == SentryLog.limit)
    try writer.write([66])
    try log.bound()
    #expect(try Data(contentsOf: URL(filePath: path)).isEmpty)
    #expect(try Data(contentsOf: URL(filePath: log.older)).last == 66)
    try writer.write([67])
    #expect(try Data(contentsOf: URL(filePath: path)) == Data([67]))
  }
}

/// A file that is written at its end, as by a sentry.
private final class OutputStreamFile {
  private let descriptor: OwnedFileDescriptor

  init?(_ path: String) {
    let number = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard number >= 0 else { return nil }
    descriptor = OwnedFileDescriptor(owning: number)
  }

  func write(_ bytes: [UInt8]) throws {
    #expect(Glibc.write(descriptor.rawValue, bytes, bytes.count) == bytes.count)
  }
}
