import LinuxSystem
import TestBed
import Testing

/// Clients that do not do as Linux does on an ordinary network.
extension PresenceTests {
  @Test("A client whose stack is lwIP keeps its connection: no timestamps, windows of its own")
  func lwIP() async throws {
    try await withOnlooker { onlooker in
      let stranger = try await LwIPConnection(
        on: scene.network, in: scene.lab, to: scene.guest.addresses.ipv4)
      do {
        try await stranger.echo("before")
        let mark = try onlooker.watch.mark()
        try await onlooker.whileAsleep { try await Task.sleep(for: .seconds(5)) }
        // A probe a second; unanswered, the third would have ended the connection.
        let answers = try onlooker.watch.sightings(after: mark).compactMap {
          $0.speaker == .sentry ? ObservedSegment($0.frame[...]) : nil
        }
        #expect(answers.count >= 3)
        #expect(answers.allSatisfy { $0.timestamp == nil })
        #expect(try await stranger.isOpen())
        try await onlooker.wakes {
          try await stranger.echo(String(repeating: "awake? ", count: 400), within: Self.patience)
        }
        // Its FIN, while the VM sleeps again.
        try await scene.sleepAtOnce()
        try await onlooker.wakes {
          try await stranger.finishSending()
          try await stranger.waitForEnd(within: .seconds(60))
        }
      } catch {
        try await stranger.kill()
        throw error
      }
      try await stranger.kill()
    }
  }

  @Test("What wakes it may be longer than any wire takes, and arrives whole")
  func superFrames() async throws {
    try await withOnlooker { onlooker in
      // This client's interface leaves cutting to others; its window stays open while it is silent.
      let client = scene.client
      try await client.namespace.perform {
        try KernelFile.write("0", to: "/proc/sys/net/ipv4/tcp_slow_start_after_idle")
      }
      let bytes = (0..<(200 << 10)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
      for address in scene.guest.addresses.both {
        let echo = try await EchoConnection(from: client, to: address)
        try await echo.echo(bytes, within: Self.patience)
        let before = try await badSegments()
        let mark = try onlooker.watch.mark()
        try await scene.sleepAtOnce()
        let event = try await scene.eventMark()
        let frames = try await sentFrames()
        try await onlooker.wakes { try await echo.echo(bytes, within: Self.patience) }
        let after = try await sentFrames()
        let wake = try await scene.event(.awake, after: event, within: Self.patience)
        let held = try #require(wake.details["heldFrames"].flatMap { Int($0) })
        // More than ten segments came at once, in frames longer than any on a wire.
        print("held \(held) frames; \(after - frames) left the client")
        #expect(held > 10)
        #expect(wake.details["droppedFrames"] == "0")
        #expect(after - frames < bytes.count / 1_448)
        #expect(try await badSegments() == before)
        // The guest has left the cutting of its own to the host before the sleep, and does so after it.
        #expect(
          try onlooker.watch.sightings(after: mark).contains {
            $0.speaker == .guest && $0.length > 1_600
          })
      }
    }
  }

  /// How many segments with a wrong checksum the guest's kernel has seen.
  private func badSegments() async throws -> String {
    // InCsumErrors is the last of the values.
    let line = try await scene.guest.run(
      "grep ^Tcp: /proc/net/snmp | tail -n1", from: scene.client)
    return String(line.split(whereSeparator: \.isWhitespace).last ?? "")
  }

  /// How many frames the client's interface has sent.
  private func sentFrames() async throws -> Int {
    try await scene.client.namespace.perform {
      let lines = try KernelFile.text("/proc/thread-self/net/dev").split(separator: "\n")
      let values = lines.first { $0.contains("eth0:") }?.split(separator: ":").last?
        .split(separator: " ")
      return values.flatMap { $0.count > 9 ? Int($0[9]) : nil } ?? 0
    }
  }
}
