import API
import Client
import Foundation
import Testing

@Suite("Client", .timeLimit(.minutes(1)))
struct ClientTests {
  private let request = CreateRequest(
    name: "web", memoryBytes: 512 << 20, cpus: 1, image: "/images/web.img",
    networks: [.init(bridge: "br0", macAddress: "52:54:00:00:00:09")], idleAfterSeconds: 60)

  @Test("Everything that can be asked arrives, and its answer comes back")
  func everything() async throws {
    try await withTemporaryDirectory { directory in
      let host = MemoryHost()
      try await withServer(host, socketPath: directory + "/sock") { server in
        let client = server.client
        #expect(try await client.list() == [])
        let created = try await client.create(request)
        #expect(created.networks.first?.macAddress == "52:54:00:00:00:09")
        #expect(created.idleAfterSeconds == 60)
        #expect(try await client.list() == [created])
        #expect(try await client.start("web").pid == 4711)
        let asleep = try await client.sleep("web")
        #expect(asleep.sleep?.releasedBytes == 300 << 20)
        #expect(try await client.show("web") == asleep)
        #expect(try await client.wake("web").wakes == 1)
        let saved = try await client.save("web", to: SaveRequest(directory: "/templates/web"))
        #expect(saved.state == .stopped)
        _ = try await client.start("web")
        let relative = await #expect(throws: APIError.self) {
          try await client.save("web", to: SaveRequest(directory: "web"))
        }
        #expect(relative?.code == .invalid)
        #expect(
          try await client.set("web", SettingsRequest(idle: .after(seconds: 5))).idleAfterSeconds
            == 5)
        #expect(try await client.set("web", SettingsRequest(idle: .never)).idleAfterSeconds == nil)
        let settings = SettingsRequest(idle: .after(seconds: 7), swapIn: .background)
        let set = try await client.set("web", settings)
        #expect(set.idleAfterSeconds == 7 && set.swapIn == .background)
        let lazy = try await client.set("web", SettingsRequest(swapIn: .lazy))
        #expect(lazy.idleAfterSeconds == 7 && lazy.swapIn == .lazy)
        #expect(try await client.stop("web").obstacles == [])
        #expect(try await client.stop("web", force: true).obstacles == ["forced"])
        #expect(try await client.status() == host.status())
        #expect(try await client.doctor() == host.doctor())
        try await client.delete("web")
        #expect(try await client.list() == [])
      }
    }
  }

  @Test("The daemon's errors arrive whole")
  func errors() async throws {
    try await withTemporaryDirectory { directory in
      try await withServer(MemoryHost(), socketPath: directory + "/sock") { server in
        let client = server.client
        let missing = await #expect(throws: APIError.self) { try await client.show("web") }
        #expect(missing?.code == .notFound)
        #expect(missing?.advice == "see list")
        _ = try await client.create(request)
        let twice = await #expect(throws: APIError.self) { try await client.create(request) }
        #expect(twice?.code == .conflict)
        let refused = await #expect(throws: APIError.self) { try await client.sleep("web") }
        #expect(refused?.code == .refused)
        #expect(refused?.intact == "it is as it was")
        let name = await #expect(throws: APIError.self) { try await client.show("../status") }
        #expect(name?.code == .invalid)
      }
    }
  }

  @Test("Past events come, all of them, and the stream ends")
  func pastEvents() async throws {
    try await withTemporaryDirectory { directory in
      try await withServer(MemoryHost(eventCount: 5000), socketPath: directory + "/sock") {
        server in
        var sequences: [Int] = []
        for try await event in server.client.events() { sequences.append(event.sequence) }
        #expect(sequences == Array(1...5000))
        var last: [String] = []
        for try await event in server.client.events(after: 4998) { last.append(event.message) }
        #expect(last == ["event 4999", "event 5000"])
      }
    }
  }

  @Test("A follower gets what was and what comes, and is forgotten when it leaves")
  func follow() async throws {
    try await withTemporaryDirectory { directory in
      let host = MemoryHost(eventCount: 3)
      try await withServer(host, socketPath: directory + "/sock") { server in
        var messages: [String] = []
        for try await event in server.client.events(after: 1, follow: true) {
          messages.append(event.message)
          if messages.count == 2 {
            Task {
              try await eventually { await host.followerCount == 1 }
              // Several heartbeats pass, and none of them looks like an event.
              try await Task.sleep(for: .milliseconds(350))
              await host.emit("fresh", "web")
              await host.emit("fresher")
            }
          }
          if messages.count == 4 { break }
        }
        #expect(messages == ["event 2", "event 3", "fresh", "fresher"])
        try await eventually("the daemon forgets a follower who is gone") {
          await host.followerCount == 0
        }
      }
    }
  }

  @Test("Followers end in an orderly way when the server shuts down, and the socket goes")
  func followUntilShutdown() async throws {
    try await withTemporaryDirectory { directory in
      let host = MemoryHost(eventCount: 1)
      try await withServer(host, socketPath: directory + "/sock") { server in
        let follower = Task {
          var count = 0
          for try await _ in server.client.events(follow: true) { count += 1 }
          return count
        }
        try await eventually { await host.followerCount == 1 }
        try await server.stop()
        #expect(try await follower.value == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
        let gone = await #expect(throws: APIError.self) { try await server.client.list() }
        #expect(gone?.code == .unavailable)
      }
    }
  }

  @Test("A daemon that is not there is named, with advice", arguments: [false, true])
  func noDaemon(staleSocket: Bool) async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      if staleSocket { try Listener(path: path).close() }
      let client = DormouseClient(socketPath: path)
      let error = await #expect(throws: APIError.self) { try await client.status() }
      #expect(error?.code == .unavailable)
      #expect(error?.message.contains(path) == true)
      #expect(error?.advice?.contains("is dormoused running?") == true)
      let events = await #expect(throws: APIError.self) {
        for try await _ in client.events(follow: true) {}
      }
      #expect(events?.code == .unavailable)
    }
  }

  @Test("A daemon that does not answer is given up at the deadline")
  func silentDaemon() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      let listener = try Listener(path: path)
      let client = DormouseClient(
        socketPath: path,
        deadlines: .init(
          query: .milliseconds(200), transition: .milliseconds(200), silence: .milliseconds(200)))
      let query = await #expect(throws: APIError.self) { try await client.status() }
      #expect(query?.code == .unavailable)
      #expect(query?.intact == nil)
      let transition = await #expect(throws: APIError.self) { try await client.sleep("web") }
      #expect(transition?.intact != nil)
      let events = await #expect(throws: APIError.self) {
        for try await _ in client.events(follow: true) {}
      }
      #expect(events?.code == .unavailable)
      #expect(events?.message.contains("silent") == true)
      listener.close()
    }
  }

  @Test(
    "Answers that are cut off or make no sense are errors, never half an answer",
    arguments: [
      ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]", APIError.Code.unavailable),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n", .unavailable),
      ("", .unavailable),
      ("SSH-2.0-OpenSSH_9.2\r\n", .unavailable),
      ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", .internal),
      ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", .internal),
      ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", .unavailable),
    ])
  func brokenAnswers(answer: String, code: APIError.Code) async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      let listener = try Listener(path: path)
      defer { listener.close() }
      listener.answer(answer)
      let client = DormouseClient(socketPath: path, deadlines: .init(query: .seconds(5)))
      let error = await #expect(throws: APIError.self) { try await client.list() }
      #expect(error?.code == code, "\(error?.description ?? "no error")")
      #expect(error?.message.contains("within") == false)
    }
  }

  @Test("Cancelling the caller ends the call at once")
  func cancellation() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      let listener = try Listener(path: path)
      defer { listener.close() }
      let call = Task { try await DormouseClient(socketPath: path).status() }
      try await Task.sleep(for: .milliseconds(100))
      let started = ContinuousClock.now
      call.cancel()
      await #expect(throws: CancellationError.self) { try await call.value }
      #expect(ContinuousClock.now - started < .seconds(2))
    }
  }
}
