import API
import FuzzTargets
import LinuxSystem
import TestBed
import Testing

/// A stream of fuzzed frames, as fast as they can be sent, against a real sentry.
@Suite(.serialized, .timeLimit(.minutes(3)), .showsLogsOnFailure)
struct HostilePeerTests {
  /// More than the sentry may ever grow by: what it holds for a machine, and its buffers.
  static let growthLimit = 24 << 20

  @Test(
    "A flood of fuzzed frames for one VM: its sentry stays up and small, and another VM's keepalives go on"
  )
  func flood() async throws {
    try await withScene("quiet", memoryMegabytes: nil) { scene in
      let besieged = try await Guest("besieged", on: scene.network, in: scene.lab)
      try await scene.daemon.create(besieged, memoryMegabytes: 256)
      _ = try await scene.api.start("besieged")
      try await scene.boot(memoryMegabytes: 256)
      try await besieged.waitUntilUp(from: scene.client)
      let attacker = try await scene.network.addClient()
      let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
      try await echo.echo(Array("before".utf8))
      for address in besieged.addresses.both {
        #expect(try await Pinger(from: attacker, to: address).ping() != nil)
      }
      try await scene.sleep()
      let asleep = try await sleepWhenQuiet(scene.api, "besieged")
      let sentry = try #require(try await scene.api.status().sentry.pid)
      let before = try residentBytes(of: sentry)
      let begin = ContinuousClock.now

      // What need not wake it does not, however much of it there is.
      let sender = try await FrameSender(on: attacker)
      let stations = try await stations(attacker, besieged)
      let harmless = try await send(.seconds(3), by: sender, stations) { $0.nextHarmless() }
      #expect(harmless > 1_000)
      let still = try await scene.api.show("besieged")
      #expect(still.state == .asleep)
      #expect(still.wakes == asleep.wakes)

      // The rest wakes it, as it may. What is meant for all reaches the other VM as well, and may wake that.
      let anything = try await send(.seconds(3), by: sender, stations) { frames in
        var frame = frames.next()
        while let first = frame.first, first & 1 == 1 { frame = frames.next() }
        return frame
      }
      #expect(anything > 1_000)
      print("\(harmless) harmless frames, then \(anything) of all kinds")
      try await waitForState(scene.api, "besieged", .awake, within: .seconds(20))
      let after = try residentBytes(of: sentry)
      print("the sentry has grown by \(after - before) bytes")
      #expect(after - before < Self.growthLimit)
      #expect(try await scene.api.status().sentry.pid == sentry)
      // The flood came from its MAC, too, and bridge and neighbours may still believe in that.
      try await besieged.waitUntilUp(from: scene.client)
      let connection = try await EchoConnection(
        from: scene.client, to: besieged.addresses.ipv4, within: .seconds(20))
      try await connection.echo(Array("still here".utf8), within: .seconds(20))

      // The other VM has slept through all of it.
      #expect(try await scene.machine().state == .asleep)
      let keepalives = scene.keepalives.count(since: begin)
      print("keepalives: \(keepalives)")
      #expect(keepalives.answered >= 3)
      #expect(keepalives.answered >= keepalives.sent - keepalives.open)
      try await echo.echo(Array("after".utf8))
    }
  }

  private func stations(
    _ attacker: LabClient, _ besieged: Guest
  ) async throws -> (attacker: Station, besieged: Station) {
    let line = try await attacker.namespace.run("ip", "-brief", "link", "show", "eth0")
    let mac = String(try #require(line.split(separator: " ").dropFirst(2).first))
    func station(_ mac: String, _ addresses: LabAddresses) -> Station {
      Station(
        mac: TestFrames.bytes(ofMAC: mac), ipv4: TestFrames.bytes(ofAddress: addresses.ipv4),
        ipv6: TestFrames.bytes(ofAddress: addresses.ipv6))
    }
    return (
      station(mac, attacker.addresses),
      station(besieged.addresses.macAddress, besieged.addresses)
    )
  }

  /// Sends for a while, as fast as the kernel takes frames.
  /// - Returns: how many it took.
  private func send(
    _ duration: Duration, by sender: FrameSender,
    _ stations: (attacker: Station, besieged: Station),
    _ next: @escaping @Sendable (inout HostileFrames) -> [UInt8]
  ) async throws -> Int {
    let (attacker, besieged) = stations
    return try await onBlockingThread("flood") {
      var frames = HostileFrames(from: attacker, to: besieged, seed: 1)
      var count = 0
      let end = ContinuousClock.now + duration
      while ContinuousClock.now < end {
        for _ in 0..<100 {
          // A full queue is no reason to end.
          if (try? sender.send(next(&frames))) != nil { count += 1 }
        }
      }
      return count
    }
  }

  private func residentBytes(of pid: Int32) throws -> Int {
    let fields = try KernelFile.text("/proc/\(pid)/statm").split(separator: " ")
    return try #require(fields.dropFirst().first.flatMap { Int($0) }) * 4096
  }
}
