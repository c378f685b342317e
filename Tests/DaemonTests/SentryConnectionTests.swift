import Daemon
import FoundationEssentials
import LinuxSystem
import Seamless
import Synchronization
import Testing

/// A sentry that says what it is told to, on the other end of a real socket pair.
private final class StubSentry: Sendable {
  private let socket: Mutex<SequencedPacketSocket?>

  init(_ socket: consuming SequencedPacketSocket) {
    self.socket = Mutex(socket)
  }

  /// The next request; waits for it.
  func request() async throws -> SentryRequest {
    let deadline = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < deadline {
      let bytes: [UInt8]? = try socket.withLock { socket in
        try socket?.receive(maximumBytes: 65_536, maximumDescriptors: 0)?.bytes
      }
      if let bytes { return try JSONDecoder().decode(SentryRequest.self, from: Data(bytes)) }
      try await Task.sleep(for: .milliseconds(1))
    }
    throw LinuxError(code: .exhausted, message: "no request came")
  }

  func say(_ id: UInt64, _ body: SentryReply.Body) throws {
    try say([UInt8](JSONEncoder().encode(SentryReply(id: id, body: body))))
  }

  func say(_ bytes: [UInt8]) throws {
    try socket.withLock { try $0?.send(bytes) }
  }

  func hangUp() {
    socket.withLock { $0 = nil }
  }
}

@Suite("The connection to the sentry")
struct SentryConnectionTests {
  /// A connection that is being read from, and the sentry at its other end.
  private func withConnection(
    _ body: (SentryConnection, StubSentry, AsyncStream<SentryNotice>) async throws -> Void
  ) async throws {
    let pair = try SequencedPacketSocket.pair()
    let connection = SentryConnection(pair.first)
    let sentry = StubSentry(pair.second)
    let (notices, sink) = AsyncStream<SentryNotice>.makeStream()
    let reader = Task {
      await connection.readNotices { sink.yield($0) }
      sink.finish()
    }
    defer { reader.cancel() }
    try await body(connection, sentry, notices)
  }

  private func failure(_ body: () async throws -> SentryReply.Body) async -> SentryError.Code? {
    do {
      _ = try await body()
      return nil
    } catch {
      return (error as? SentryError)?.code
    }
  }

  @Test func answersFindTheirQuestionsInAnyOrder() async throws {
    try await withConnection { connection, sentry, _ in
      async let first = connection.request(.traffic(names: ["a"]))
      let one = try await sentry.request()
      async let second = connection.request(.heartbeat)
      let two = try await sentry.request()
      #expect(one.id != two.id && one.id != 0 && two.id != 0)
      try sentry.say(two.id, .done)
      guard case .done = try await second else {
        Issue.record("the second question got the first one's answer")
        return
      }
      try sentry.say(one.id, .welcome(pid: 1, []))
      guard case .welcome = try await first else {
        Issue.record("the first question got another answer")
        return
      }
    }
  }

  @Test func anAnswerInPartsIsOneAnswer() async throws {
    try await withConnection { connection, sentry, _ in
      async let answer = connection.request(.heartbeat)
      let id = try await sentry.request().id
      for number in 0..<3 {
        let status = GuardStatus(name: "\(number)", phase: .answering)
        try sentry.say(
          [UInt8](
            JSONEncoder().encode(
              SentryReply(id: id, body: .welcome(pid: 1, [status]), more: number < 2))))
      }
      guard case .welcome(1, let machines) = try await answer else {
        Issue.record("that is another answer")
        return
      }
      #expect(machines.map(\.name) == ["0", "1", "2"])
    }
  }

  @Test func partsThatDoNotBelongTogetherEndTheConnection() async throws {
    try await withConnection { connection, sentry, _ in
      async let answer = failure { try await connection.request(.heartbeat) }
      let id = try await sentry.request().id
      try sentry.say([UInt8](JSONEncoder().encode(SentryReply(id: id, body: .done, more: true))))
      try sentry.say(id, .welcome(pid: 1, []))
      #expect(await answer == .lost)
    }
  }

  @Test func aNoticeThatCannotBeTakenEndsTheConnection() async throws {
    let pair = try SequencedPacketSocket.pair()
    let connection = SentryConnection(pair.first)
    let sentry = StubSentry(pair.second)
    let reader = Task {
      await connection.readNotices { _ in throw LinuxError(code: .exhausted, message: "full") }
    }
    try sentry.say(0, .notice(.monitorClosed(name: "a")))
    await reader.value
    #expect(await failure { try await connection.request(.heartbeat) } == .lost)
  }

  @Test func silenceEndsAtTheDeadlineAndALateAnswerHarmsNobody() async throws {
    try await withConnection { connection, sentry, _ in
      let began = ContinuousClock.now
      let code = await failure {
        try await connection.request(.heartbeat, deadline: .milliseconds(100))
      }
      #expect(code == .silent)
      #expect(ContinuousClock.now - began < .seconds(5))
      let late = try await sentry.request()
      try sentry.say(late.id, .done)
      async let next = connection.request(.heartbeat)
      try sentry.say(try await sentry.request().id, .done)
      guard case .done = try await next else {
        Issue.record("the connection is no longer of use")
        return
      }
    }
  }

  @Test func allWhoWaitHearOfTheSentrysEnd() async throws {
    try await withConnection { connection, sentry, notices in
      async let first = failure { try await connection.request(.heartbeat) }
      async let second = failure { try await connection.request(.wake(name: "a", cause: .order)) }
      _ = try await sentry.request()
      _ = try await sentry.request()
      sentry.hangUp()
      #expect(await first == .lost)
      #expect(await second == .lost)
      for await _ in notices { Issue.record("there was no notice") }
      #expect(await failure { try await connection.request(.heartbeat) } == .lost)
    }
  }

  @Test(arguments: [
    (SentryReply.Refusal.activity, SentryError.Code.activity), (.unknownMachine, .refused),
    (.monitor, .refused),
  ])
  func refusalsAreErrors(refusal: SentryReply.Refusal, code: SentryError.Code) async throws {
    try await withConnection { connection, sentry, _ in
      async let answer = failure { try await connection.request(.commit(name: "a")) }
      let request = try await sentry.request()
      try sentry.say(request.id, .refused(code: refusal, message: "because"))
      #expect(await answer == code)
    }
  }

  @Test func noticesKeepTheirOrder() async throws {
    try await withConnection { _, sentry, notices in
      for number in 0..<20 {
        try sentry.say(0, .notice(.monitorSilent(name: "vm\(number)", message: "")))
      }
      sentry.hangUp()
      var names: [String] = []
      for await notice in notices { names.append(notice.machine) }
      #expect(names == (0..<20).map { "vm\($0)" })
    }
  }

  @Test func nonsenseEndsTheConnection() async throws {
    try await withConnection { connection, sentry, notices in
      async let answer = failure { try await connection.request(.heartbeat) }
      _ = try await sentry.request()
      try sentry.say(Array("{\"id\":".utf8))
      #expect(await answer == .lost)
      for await _ in notices {}
    }
  }

  @Test func whoStopsReadingLetsGoOfAllWhoWait() async throws {
    let pair = try SequencedPacketSocket.pair()
    let connection = SentryConnection(pair.first)
    let sentry = StubSentry(pair.second)
    let reader = Task { await connection.readNotices { _ in } }
    async let answer = failure { try await connection.request(.heartbeat) }
    _ = try await sentry.request()
    reader.cancel()
    #expect(await answer == .lost)
  }
}
