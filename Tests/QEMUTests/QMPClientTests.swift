import Glibc
import LinuxSystem
import NIOCore
import QEMU
import QMP
import Testing

@Suite(.serialized, .timeLimit(.minutes(1))) struct QMPClientTests {
  private func code(_ body: () async throws -> Void) async -> QMPError.Code? {
    do {
      try await body()
      return nil
    } catch {
      return (error as? QMPError)?.code
    }
  }

  @Test func negotiatesAndExecutes() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      channel.send("{\"return\":{\"status\":\"paused\",\"asked\":\"\(name)\"},\"id\":\(id)}")
    }
    let client = try await QMPClient.connect(path: server.path)
    #expect(client.greeting.version == QEMUVersion(major: 10, minor: 0, micro: 2))
    #expect(try await client.execute("anything")["asked"] == "anything")
    #expect(try await client.queryStatus() == .paused)
  }

  @Test func adoptsAConnectedSocket() async throws {
    let server = try await StubServer.monitor { _, id, channel in
      channel.send("{\"return\":{},\"id\":\(id)}")
    }
    let client = try await QMPClient.adopt(try UnixListener.connect(path: server.path))
    try await client.cont()
  }

  @Test func saysThatNobodyIsThere() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/none"
    #expect(await code { _ = try await QMPClient.connect(path: path) } == .connect)
  }

  @Test func doesNotWaitForASilentServer() async throws {
    let server = try await StubServer()
    let path = server.path
    let start = ContinuousClock.now
    #expect(
      await code { _ = try await QMPClient.connect(path: path, deadline: .milliseconds(200)) }
        == .deadline)
    #expect(start.duration(to: .now) < .seconds(5))
  }

  @Test func doesNotWaitForASilentMonitor() async throws {
    let server = try await StubServer.monitor { _, _, _ in }
    let client = try await QMPClient.connect(path: server.path)
    let start = ContinuousClock.now
    #expect(await code { try await client.stop(deadline: .milliseconds(200)) } == .deadline)
    #expect(start.duration(to: .now) < .seconds(5))
  }

  @Test func connectingCanBeCancelled() async throws {
    let server = try await StubServer()
    let path = server.path
    let task = Task { try await QMPClient.connect(path: path, deadline: .seconds(50)) }
    try await Task.sleep(for: .milliseconds(50))
    task.cancel()
    #expect(await code { _ = try await task.value } == .cancelled)
  }

  @Test(arguments: [
    "SSH-2.0-OpenSSH_9.2", "{\"return\":{}}", "{\"QMP\":{}}",
    String(repeating: "[", count: 100_000),
    String(repeating: "x", count: 2 << 20),
  ])
  func refusesAStrangeGreeting(text: String) async throws {
    let server = try await StubServer(greet: { $0.send(text) })
    let path = server.path
    #expect(await code { _ = try await QMPClient.connect(path: path) } == .protocolViolation)
  }

  @Test(arguments: [
    "nonsense", "{\"return\":{}}", "{\"return\":{},\"id\":999}", "{\"return\":{},\"id\":0}",
    StubServer.greeting, String(repeating: "{\"a\":", count: 50_000),
    String(repeating: " ", count: 3 << 20),
  ])
  func closesOnNonsense(text: String) async throws {
    let server = try await StubServer.monitor { _, _, channel in channel.send(text) }
    let client = try await QMPClient.connect(path: server.path)
    let events = client.events()
    #expect(await code { try await client.stop() } == .protocolViolation)
    await client.waitUntilClosed()
    for await _ in events { Issue.record("there was no event") }
    #expect(await code { try await client.stop() } == .closed)
  }

  @Test func tellsAllWhoWaitThatTheConnectionIsGone() async throws {
    let server = try await StubServer.monitor { name, _, channel in
      if name == "c" { channel.close(promise: nil) }
    }
    let client = try await QMPClient.connect(path: server.path)
    let events = client.events()
    let codes = await withTaskGroup { group in
      for name in ["a", "b", "c"] {
        group.addTask { await code { try await client.execute(name) } }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(codes == [.closed, .closed, .closed])
    for await _ in events { Issue.record("there was no event") }
    await client.waitUntilClosed()
  }

  @Test func canBeClosed() async throws {
    let server = try await StubServer.monitor { _, _, _ in }
    let client = try await QMPClient.connect(path: server.path)
    async let waiting = code { try await client.stop() }
    try await Task.sleep(for: .milliseconds(50))
    client.close()
    #expect(await waiting == .closed)
    await client.waitUntilClosed()
    for await _ in client.events() { Issue.record("a closed client has no events") }
  }

  @Test func waitingForTheEndCanBeCancelled() async throws {
    let server = try await StubServer.monitor { _, _, _ in }
    let client = try await QMPClient.connect(path: server.path)
    let task = Task { await client.waitUntilClosed() }
    task.cancel()
    await task.value
  }

  @Test func reportsWhatWasRefused() async throws {
    let server = try await StubServer.monitor { _, id, channel in
      channel.send(
        "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"never heard\"},\"id\":\(id)}")
    }
    let client = try await QMPClient.connect(path: server.path)
    do throws(QMPError) {
      try await client.execute("frobnicate")
      Issue.record("it was not refused")
    } catch {
      #expect(error.code == .command)
      #expect(error.failure?.errorClass == "CommandNotFound")
      #expect(error.description == "frobnicate was refused: never heard")
    }
  }

  @Test func keepsManyCommandsApart() async throws {
    // Answers come in pairs, the later command's first.
    let held = Held()
    let server = try await StubServer.monitor { name, id, channel in
      let answer = "{\"return\":\"\(name)\",\"id\":\(id)}"
      guard let earlier = held.exchange(answer) else { return }
      channel.send(answer + "\n" + earlier)
    }
    let client = try await QMPClient.connect(path: server.path)
    try await withThrowingTaskGroup { group in
      for number in 0..<200 {
        group.addTask {
          let answer = try await client.execute("command\(number)")
          #expect(answer == .string("command\(number)"))
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func ignoresALateReply() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      let delay = name == "slow" ? TimeAmount.milliseconds(200) : .zero
      channel.eventLoop.scheduleTask(in: delay) {
        channel.send("{\"return\":\"\(name)\",\"id\":\(id)}")
      }
    }
    let client = try await QMPClient.connect(path: server.path)
    #expect(
      await code { try await client.execute("slow", deadline: .milliseconds(50)) } == .deadline)
    try await Task.sleep(for: .milliseconds(300))
    #expect(try await client.execute("quick") == "quick")
  }

  @Test func aCommandCanBeCancelled() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      if name == "quick" { channel.send("{\"return\":\"quick\",\"id\":\(id)}") }
    }
    let client = try await QMPClient.connect(path: server.path)
    let task = Task { try await client.execute("slow", deadline: .seconds(50)) }
    try await Task.sleep(for: .milliseconds(50))
    task.cancel()
    #expect(await code { _ = try await task.value } == .cancelled)
    let early = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await client.execute("slow", deadline: .seconds(50))
    }
    #expect(await code { _ = try await early.value } == .cancelled)
    #expect(try await client.execute("quick") == "quick")
  }

  @Test func aFloodOfEventsLosesTheOldest() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      if name == "flood" {
        for number in 0..<20_000 {
          channel.send(
            "{\"event\":\"E\",\"data\":\(number),\"timestamp\":{\"seconds\":1,\"microseconds\":2}}")
        }
      }
      channel.send("{\"return\":{},\"id\":\(id)}")
    }
    let client = try await QMPClient.connect(path: server.path)
    let slow = client.events()
    try await client.execute("flood", deadline: .seconds(20))
    let late = client.events()
    client.close()
    let numbers = await slow.reduce(into: []) { $0.append($1.data?.integerValue ?? -1) }
    #expect(numbers.count == 256)
    #expect(numbers.last == 19_999)
    #expect(await late.reduce(0) { count, _ in count + 1 } == 0)
  }

  @Test func everySubscriberGetsTheEvents() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      channel.send("{\"event\":\"\(name)\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}")
      channel.send("{\"return\":{},\"id\":\(id)}")
    }
    let client = try await QMPClient.connect(path: server.path)
    let (first, second) = (client.events(), client.events())
    try await client.execute("A")
    try await client.execute("B")
    client.close()
    #expect(await first.reduce(into: []) { $0.append($1.name) } == ["A", "B"])
    #expect(await second.reduce(into: []) { $0.append($1.name) } == ["A", "B"])
  }

  @Test func doesNotPileUpCommandsForAMonitorThatReadsNothing() async throws {
    let server = try await StubServer.monitor { _, _, channel in
      channel.setOption(.autoRead, value: false).whenComplete { _ in }
    }
    let client = try await QMPClient.connect(path: server.path)
    let argument = JSONValue.string(String(repeating: "x", count: 100_000))
    var refusedAtOnce = false
    for _ in 0..<100 where !refusedAtOnce {
      do throws(QMPError) {
        try await client.execute("load", argument, deadline: .milliseconds(20))
      } catch {
        #expect(error.code == .deadline)
        refusedAtOnce = error.message.contains("no longer reads")
      }
    }
    #expect(refusedAtOnce)
  }

  @Test func readsMigrationProgress() async throws {
    let server = try await StubServer.monitor { name, id, channel in
      channel.send(
        name == "query-migrate"
          ? "{\"return\":{\"status\":\"failed\",\"error-desc\":\"disk full\"},\"id\":\(id)}"
          : "{\"return\":{},\"id\":\(id)}")
    }
    let client = try await QMPClient.connect(path: server.path)
    do throws(QMPError) {
      try await client.waitForMigration(deadline: .seconds(5))
      Issue.record("it did not fail")
    } catch {
      #expect(error.code == .command)
      #expect(error.message.contains("disk full"))
    }
  }
}
