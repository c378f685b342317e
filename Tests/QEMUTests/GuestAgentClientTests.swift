import NIOCore
import QEMU
import QMP
import Testing

@Suite(.serialized, .timeLimit(.minutes(1))) struct GuestAgentClientTests {
  /// An agent that synchronizes properly and hands everything else to `answer`.
  private func agent(
    _ answer: @escaping @Sendable (String, JSONValue, any Channel) -> Void
  ) async throws -> StubServer {
    try await StubServer(answer: { line, channel in
      guard let command = try? JSONValue(parsing: line), let name = command["execute"]?.stringValue
      else { return }
      if name == "guest-sync-delimited", let mark = command["arguments"]?["id"]?.integerValue {
        channel.send(bytes: [0xFF] + Array("{\"return\":\(mark)}\n".utf8))
      } else {
        answer(name, command, channel)
      }
    })
  }

  private func code(_ body: () async throws -> Void) async -> QMPError.Code? {
    do {
      try await body()
      return nil
    } catch {
      return (error as? QMPError)?.code
    }
  }

  @Test func asksAndAnswers() async throws {
    let server = try await agent { name, _, channel in
      channel.send(name == "guest-get-time" ? "{\"return\":12345}" : "{\"return\":{}}")
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    try await client.synchronize()
    try await client.ping()
    #expect(try await client.getTime() == 12345)
  }

  @Test func doesNotWaitForAnAgentThatIsNotThere() async throws {
    let server = try await StubServer()
    let client = try await GuestAgentClient.connect(path: server.path)
    let start = ContinuousClock.now
    #expect(await code { try await client.synchronize(deadline: .milliseconds(100)) } == .deadline)
    #expect(await code { try await client.ping(deadline: .milliseconds(100)) } == .deadline)
    #expect(start.duration(to: .now) < .seconds(5))
  }

  @Test func executesOneAfterTheOther() async throws {
    let server = try await agent { _, command, channel in
      let number = command["arguments"]?["n"]?.integerValue ?? -1
      channel.eventLoop.scheduleTask(in: .milliseconds(1)) {
        channel.send("{\"return\":\(number)}")
      }
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    try await withThrowingTaskGroup { group in
      for number in Int64(0)..<50 {
        group.addTask {
          let answer = try await client.execute(
            "echo", ["n": .integer(number)], deadline: .seconds(30))
          #expect(answer == .integer(number))
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func discardsWhatWasSentBefore() async throws {
    // Half a line, whole replies, things that are not JSON, and the mark of another synchronization.
    let server = try await StubServer(greet: {
      $0.send("{\"return\":666}")
      $0.send("not JSON")
      $0.send(bytes: [0xFF] + Array("{\"return\":1}\n".utf8))
      $0.send(bytes: Array("{\"return\":{\"half".utf8))
    }) { line, channel in
      guard let command = try? JSONValue(parsing: line) else { return }
      if let mark = command["arguments"]?["id"]?.integerValue {
        channel.send(bytes: [0xFF] + Array("{\"return\":\(mark)}\n".utf8))
      } else {
        channel.send("{\"return\":42}")
      }
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(try await client.getTime() == 42)
  }

  @Test func aLateReplyAnswersNothingElse() async throws {
    let server = try await agent { name, _, channel in
      let delay = name == "guest-get-time" ? TimeAmount.milliseconds(150) : .milliseconds(0)
      channel.eventLoop.scheduleTask(in: delay) {
        channel.send(name == "guest-get-time" ? "{\"return\":1}" : "{\"return\":2}")
      }
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(await code { _ = try await client.getTime(deadline: .milliseconds(50)) } == .deadline)
    try await Task.sleep(for: .milliseconds(200))
    #expect(try await client.execute("other") == 2)
  }

  @Test func reportsWhatTheAgentRefuses() async throws {
    let server = try await agent { _, _, channel in
      channel.send("{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"disabled\"}}")
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(await code { try await client.ping() } == .command)
  }

  @Test func survivesAFlood() async throws {
    let server = try await StubServer(greet: { flood($0, with: "{\"return\":7}") })
    let client = try await GuestAgentClient.connect(path: server.path)
    let start = ContinuousClock.now
    #expect(
      await code { try await client.synchronize(deadline: .seconds(10)) } == .protocolViolation)
    #expect(start.duration(to: .now) < .seconds(9))
    #expect(await code { try await client.synchronize() } == .closed)
  }

  @Test func survivesALineWithoutEnd() async throws {
    let server = try await StubServer(greet: {
      $0.send(bytes: [UInt8](repeating: UInt8(ascii: "["), count: 4 << 20))
    })
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(await code { try await client.synchronize() } == .protocolViolation)
  }

  @Test func saysThatTheChannelIsGone() async throws {
    let server = try await agent { _, _, channel in channel.close(promise: nil) }
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(await code { try await client.ping() } == .closed)
    #expect(await code { try await client.ping() } == .closed)
  }

  @Test func waitingCanBeCancelled() async throws {
    let server = try await agent { name, _, channel in
      if name == "guest-ping" { channel.send("{\"return\":{}}") }
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    let task = Task { try await client.getTime(deadline: .seconds(50)) }
    try await Task.sleep(for: .milliseconds(50))
    task.cancel()
    #expect(await code { _ = try await task.value } == .cancelled)
    try await client.ping()
  }

  @Test func setsTheClockOfAGuestWithoutHwclock() async throws {
    let time: Int64 = 1_700_000_000_000_000_000
    let start = ContinuousClock.now
    let server = try await agent { name, command, channel in
      if name == "guest-set-time" {
        #expect(command["arguments"]?["time"] == .integer(time))
        channel.send("{\"error\":{\"class\":\"GenericError\",\"desc\":\"hwclock failed\"}}")
      } else {
        let elapsed = start.duration(to: .now) / Duration.nanoseconds(1)
        channel.send("{\"return\":\(time + Int64(elapsed))}")
      }
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    try await client.setTime(time)
  }

  @Test func noticesThatTheClockWasNotSet() async throws {
    let time: Int64 = 1_700_000_000_000_000_000
    let server = try await agent { name, _, channel in
      channel.send(
        name == "guest-set-time"
          ? "{\"error\":{\"class\":\"GenericError\",\"desc\":\"not allowed\"}}"
          : "{\"return\":\(time - 5_000_000_000)}")
    }
    let client = try await GuestAgentClient.connect(path: server.path)
    #expect(await code { try await client.setTime(time) } == .command)
  }
}

/// Sends as fast as the other side reads, without end.
private func flood(_ channel: any Channel, with line: String) {
  let block = String(repeating: line + "\n", count: 1000)
  channel.writeAndFlush(ByteBuffer(string: block)).whenSuccess { flood(channel, with: line) }
}
