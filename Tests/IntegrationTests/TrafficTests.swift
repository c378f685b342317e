import API
import FoundationEssentials
import Seamless
import TestBed
import Testing

/// What the network does to a sleeping VM beside using it: large transfers around a sleep, one that comes
/// all at once, peers that close, broken frames, broadcasts.
@Suite(
  .serialized, .timeLimit(.minutes(3)), .showsLogsOnFailure, .scene("talker", memoryMegabytes: 384))
struct TrafficTests {
  static let patience = Duration.seconds(10)

  let scene: Scene

  init() throws { scene = try Scene.current() }

  @Test("Large transfers are whole before a sleep and after it, with segmentation offload")
  func largeTransfers() async throws {
    let megabytes = 8
    let sum = try await scene.guest.run(
      "head -c \(megabytes)M /dev/urandom > /var/www/guest/large; sha256sum /var/www/guest/large",
      from: scene.client
    ).prefix(64)
    let web = try await HTTPConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    let before = try await received()
    #expect(try await checksum(web.get("/large", within: .seconds(30))) == sum)
    let after = try await received()
    // Frames longer than any on a wire: the guest leaves it to the host to cut them.
    let frameLength = Double(after.bytes - before.bytes) / Double(after.frames - before.frames)
    print("average frame from the guest: \(frameLength) bytes")
    #expect(frameLength > 1_600)

    try await scene.sleep()
    let awake = try await wakes { _ = try await web.get("/", within: Self.patience) }
    #expect(awake.reason == WakeReason.payload.rawValue)
    #expect(try await checksum(web.get("/large", within: .seconds(30))) == sum)
    let offloaded = try await received()
    #expect(offloaded.bytes - after.bytes > megabytes << 20)
    #expect(
      Double(offloaded.bytes - after.bytes) / Double(offloaded.frames - after.frames) > 1_600)
  }

  @Test("Much that comes at once is held and delivered whole", arguments: [0, 1])
  func muchAtOnce(family: Int) async throws {
    let echo = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.both[family])
    try await echo.echo(Array("before".utf8))
    try await scene.sleep()
    var generator = SystemRandomNumberGenerator()
    let bytes = (0..<(48 << 10)).map { _ in UInt8.random(in: 0...255, using: &generator) }
    let wake = try await wakes { try await echo.echo(bytes, within: Self.patience) }
    #expect(wake.reason == WakeReason.payload.rawValue)
    // The client's kernel had ten segments on the way before it needed an answer (RFC 6928).
    #expect(wake.heldFrames > 1)
    try await echo.echo(bytes, within: Self.patience)
  }

  @Test("A peer that closes wakes it only when it insists, and is let go properly")
  func halfClose() async throws {
    let echo = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.ipv4, keepalive: nil)
    try await echo.echo(Array("before".utf8))
    try await scene.sleep()
    let clock = ContinuousClock()
    let start = clock.now
    let wake = try await wakes {
      try echo.finishSending()
      try await echo.waitForEnd(within: Self.patience)
    }
    print("half-closed connection ended after \(clock.now - start)")
    #expect(wake.reason == WakeReason.fin.rawValue)
    // The first FIN and its first repetition woke nobody: Linux repeats after 200 ms at the earliest.
    #expect(clock.now - start > .milliseconds(200))
    #expect(wake.heldFrames >= 3)
  }

  @Test("Broken frames crash nobody and wake nobody; then a real SYN does")
  func brokenFrames() async throws {
    let before = try await scene.sleep()
    let sentry = try #require(try await scene.api.status().sentry.pid)
    let sender = try await FrameSender(on: scene.client)
    let frames = try await brokenFrameCollection()
    #expect(frames.count > 900)
    for (index, frame) in frames.enumerated() {
      try sender.send(frame)
      // No faster than the sentry reads, so that none is lost in a queue unseen.
      if index % 100 == 99 { try await Task.sleep(for: .milliseconds(5)) }
    }
    // Answered after all of them, as frames are taken in order.
    #expect(
      try await Pinger(from: scene.client, to: scene.guest.addresses.ipv4).ping() != nil)
    try await Task.sleep(for: .milliseconds(200))
    let still = try await scene.machine()
    #expect(still.state == .asleep)
    #expect(still.wakes == before.wakes)
    #expect(try await scene.api.status().sentry.pid == sentry)

    let wake = try await wakes {
      let echo = try await EchoConnection(
        from: scene.client, to: scene.guest.addresses.ipv4, within: Self.patience)
      try await echo.echo(Array("after the noise".utf8), within: Self.patience)
    }
    #expect(wake.reason == WakeReason.syn.rawValue)
    #expect(try await scene.api.status().sentry.pid == sentry)
    // It was held back with the rest, and it too is harmless to the guest.
    try await scene.expectReachable()
  }

  @Test("A storm of broadcasts for others wakes nobody")
  func broadcastStorm() async throws {
    let before = try await scene.sleep()
    let sender = try await FrameSender(on: scene.client)
    let mac = try await clientMAC()
    for round in 0..<2_000 {
      let number = UInt8(round % 200 + 20)
      try sender.send(
        TestFrames.arpRequest(
          from: mac, scene.client.addresses.ipv4, for: "10.77.\(scene.network.number).\(number)"))
      try sender.send(TestFrames.multicastDNS(from: mac, scene.client.addresses.ipv4))
      if round % 50 == 49 { try await Task.sleep(for: .milliseconds(5)) }
    }
    for address in scene.guest.addresses.both {
      #expect(try await Pinger(from: scene.client, to: address).ping() != nil)
    }
    let still = try await scene.machine()
    #expect(still.state == .asleep)
    #expect(still.wakes == before.wakes)
    let mark = try await scene.eventMark()
    #expect(try await scene.api.wake(scene.name).state == .awake)
    let awake = try await scene.event(.awake, after: mark, within: Self.patience)
    // What was for others was not kept for the guest either.
    #expect(awake.details["heldFrames"] == "0")
    #expect(awake.details["droppedFrames"] == "0")
  }

  // MARK: -

  /// Runs what must wake the sleeping VM; returns the daemon's report.
  private func wakes(_ body: () async throws -> Void) async throws -> WakeReport {
    let before = try await scene.machine()
    try #require(before.state == .asleep)
    try await body()
    return try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.wakes == before.wakes + 1 ? machine.lastWake : nil
    }
  }

  private func checksum(_ answer: HTTPConnection.Answer) async throws -> Substring {
    let file = scene.lab.directory + "/transfer"
    try Data(answer.body).write(to: URL(filePath: file))
    defer { try? FileManager.default.removeItem(atPath: file) }
    return try await Command.run("sha256sum", file).prefix(64)
  }

  /// What the VM's tap has received from the guest so far.
  private func received() async throws -> (bytes: Int, frames: Int) {
    let tap = try #require(try await scene.machine().networks.first?.tap)
    let lines = try await scene.network.host.run("ip", "-statistics", "link", "show", "dev", tap)
      .split(separator: "\n")
    let heading = try #require(lines.firstIndex { $0.contains("RX:") })
    let numbers = lines[heading + 1].split(separator: " ").compactMap { Int($0) }
    try #require(numbers.count >= 2)
    return (numbers[0], numbers[1])
  }

  private func clientMAC() async throws -> [UInt8] {
    let line = try await scene.client.namespace.run("ip", "-brief", "link", "show", "eth0")
    return TestFrames.bytes(
      ofMAC: String(try #require(line.split(separator: " ").dropFirst(2).first)))
  }

  /// Frames to the guest that its kernel would drop without a word: whole ones cut short everywhere, and
  /// whole ones with a byte changed that a checksum covers.
  private func brokenFrameCollection() async throws -> [[UInt8]] {
    let mac = try await clientMAC()
    let guest = TestFrames.bytes(ofMAC: scene.guest.addresses.macAddress)
    let (client4, guest4) = (scene.client.addresses.ipv4, scene.guest.addresses.ipv4)
    let (client6, guest6) = (scene.client.addresses.ipv6, scene.guest.addresses.ipv6)
    let payload = [UInt8](repeating: 0x5a, count: 40)
    let syn = TestFrames.synSegment(port: 22)
    let whole: [(frame: [UInt8], transport: Int)] = [
      (TestFrames.ipv4(to: guest, from: mac, client4, guest4, 6, syn, checksumAt: 16), 34),
      (
        TestFrames.ipv4(
          to: guest, from: mac, client4, guest4, 17, TestFrames.datagram(payload), checksumAt: 6),
        34
      ),
      (TestFrames.ipv6(to: guest, from: mac, client6, guest6, 6, syn, checksumAt: 16), 54),
      (
        TestFrames.ipv6(
          to: guest, from: mac, client6, guest6, 17, TestFrames.datagram(payload), checksumAt: 6),
        54
      ),
    ]
    var frames: [[UInt8]] = []
    for (frame, transport) in whole {
      for length in 14..<frame.count { frames.append(Array(frame.prefix(length))) }
      for index in transport..<frame.count where frame[index] != 0xff {
        var changed = frame
        changed[index] &+= 1
        frames.append(changed)
        changed[index] = frame[index] ^ 0x80
        frames.append(changed)
      }
    }
    // IPv4's own header has a checksum, too.
    for index in 14..<34 {
      var changed = whole[0].frame
      changed[index] ^= 0x41
      frames.append(changed)
    }
    // Rubbish behind a type that promises more.
    var generator = SystemRandomNumberGenerator()
    for type in [[0x08, 0x00], [0x08, 0x06], [0x86, 0xdd]] as [[UInt8]] {
      for length in 0..<150 {
        // No IP packet begins like this.
        let start: [UInt8] = length == 0 ? [] : [0xf0 | UInt8(length & 0x0f)]
        let rest = (0..<max(length - 1, 0)).map { _ in UInt8.random(in: 0...255, using: &generator)
        }
        frames.append(guest + mac + type + start + rest)
      }
    }
    return frames
  }
}
