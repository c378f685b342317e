import API
import LinuxSystem
import TestBed
import Testing

/// Clients that do not do as Linux does on an ordinary network.
extension PresenceTests {
  @Test("Clients whose stack is lwIP keep their connections: no timestamps, windows of their own")
  func lwIP() async throws {
    try await withOnlooker { onlooker in
      var strangers: [LwIPConnection] = []
      do {
        for address in scene.guest.addresses.both {
          try await strangers.append(LwIPConnection(on: scene.network, in: scene.lab, to: address))
        }
        try await keepAndWake(strangers, onlooker)
        // Their FINs, while the VM sleeps again.
        try await scene.sleepAtOnce()
        try await onlooker.wakes {
          for stranger in strangers { try await stranger.finishSending() }
          for stranger in strangers { try await stranger.waitForEnd(within: .seconds(60)) }
        }
      } catch {
        for stranger in strangers { try await stranger.kill() }
        throw error
      }
      for stranger in strangers { try await stranger.kill() }
    }
  }

  private func keepAndWake(_ strangers: [LwIPConnection], _ onlooker: Onlooker) async throws {
    for stranger in strangers {
      // lwIP acknowledges an echo up to 250 ms late; until then the guest may have to repeat it.
      try await eventually(
        "an acknowledgement so late that sleep is refused", within: Self.patience
      ) {
        try await stranger.echo("before", within: Self.patience)
        return try await refusal()?.contains("are not acknowledged") == true ? () : nil
      }
    }
    let mark = try onlooker.watch.mark()
    try await onlooker.whileAsleep {
      // A keepalive of each per second; unanswered, the third would have ended the connection.
      try await onlooker.untilAnswered(times: 6, after: mark)
      for stranger in strangers {
        // And as BSD's stacks do it, with a byte that has been acknowledged.
        let mark = try onlooker.watch.mark()
        try await stranger.probe()
        try await onlooker.untilAnswered(after: mark)
        #expect(try await stranger.isOpen())
      }
    }
    let answers = try onlooker.watch.sightings(after: mark).compactMap {
      $0.speaker == .sentry ? ObservedSegment($0.frame[...]) : nil
    }
    #expect(Set(answers.map(\.flow)).count == strangers.count)
    #expect(answers.allSatisfy { $0.timestamp == nil })
    try await onlooker.wakes {
      // A single byte, but a new one: as a probe of a closed window may be.
      try await strangers[0].echo("!", within: Self.patience)
      let words = String(repeating: "awake? ", count: 400)
      for stranger in strangers { try await stranger.echo(words, within: Self.patience) }
    }
  }

  /// Orders it to sleep; returns why it was not put to sleep.
  func refusal() async throws -> String? {
    do {
      _ = try await scene.api.sleep(scene.name)
      return nil
    } catch let error as APIError where error.code == .refused || error.code == .conflict {
      return error.message
    }
  }

  @Test("It stays awake while a window is closed, and keeps what waited for it to open")
  func closedWindows() async throws {
    let (port, count) = (7781 as UInt16, 1_000_000)
    try await scene.guest.run(
      """
      cat > /run/closed.sh << 'end'
      while [ ! -e /run/open ]; do sleep 0.1; done
      head -c \(count) | tail -c 1
      head -c \(count) /dev/zero
      exec cat
      end
      systemd-run --quiet --unit=closed socat TCP6-LISTEN:\(port),reuseaddr,ipv6-v6only=0 EXEC:'sh /run/closed.sh'
      until ss -Htln '( sport = :\(port) )' | grep -q .; do sleep 0.1; done
      """, from: scene.client)
    try await withOnlooker { onlooker in
      let echo = try await EchoConnection(
        from: onlooker.client, to: scene.guest.addresses.ipv4, port: port)
      // Nobody in the guest reads: its window closes, and the client probes it.
      async let sent: Void = echo.send(
        [UInt8](repeating: 0x61, count: count), within: Self.patience)
      try await eventually("the guest's window to close", within: Self.patience) {
        try await refusal()?.contains("the guest's receive window is closed") == true ? () : nil
      }
      // It reads and answers; now the client does not read, and the guest probes.
      try await scene.guest.run("touch /run/open", from: scene.client)
      try await sent
      try await eventually("the client's window to close", within: Self.patience) {
        try await refusal()?.contains("the peer's receive window is closed") == true ? () : nil
      }
      try await echo.expect([0x61] + [UInt8](repeating: 0, count: count), within: Self.patience)
      let mark = try onlooker.watch.mark()
      try await onlooker.whileAsleep { try await onlooker.untilAnswered(after: mark) }
      try await onlooker.wakes { try await echo.echo(Array("open".utf8), within: Self.patience) }
      try echo.finishSending()
      try await echo.waitForEnd(within: Self.patience)
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
      let before = try await badSegments()
      for address in scene.guest.addresses.both {
        let echo = try await EchoConnection(from: client, to: address)
        try await echo.echo(bytes, within: Self.patience)
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
        // The guest has left the cutting of its own to the host before the sleep, and does so after it.
        #expect(
          try onlooker.watch.sightings(after: mark).contains {
            $0.speaker == .guest && $0.length > 1_600
          })
      }
      #expect(try await badSegments() == before)
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
