import Seamless
import TestBed
import Testing

/// Services of the guest for connections that end by halves.
private enum HalfService {
  /// Sends the line that is written to /run/say, whatever its client does, and closes.
  static let say: UInt16 = 7778
  /// Sends its FIN at once, and writes what it hears to /run/heard.
  static let hear: UInt16 = 7779
  /// Closes after the first byte, which it sends back.
  static let closeFirst: UInt16 = 7780

  private static let hearer = """
    use Socket;
    socket(my $listener, PF_INET6, SOCK_STREAM, 6);
    setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($listener, pack_sockaddr_in6(\(hear), Socket::IN6ADDR_ANY)) or die;
    listen($listener, 9);
    while (accept(my $peer, $listener)) {
      shutdown($peer, 1);
      open(my $heard, ">>", "/run/heard");
      while (my $line = <$peer>) { print $heard $line; }
      close($heard);
      close($peer);
    }
    """

  /// Idempotent.
  static func start(on scene: Scene) async throws {
    let isRunning = try await scene.client.canConnect(
      to: scene.guest.addresses.ipv4, port: closeFirst)
    if isRunning { return }
    let listen = "fork,reuseaddr,ipv6-v6only=0"
    try await scene.guest.run(
      """
      cat > /run/hearer.pl << 'end'
      \(hearer)
      end
      cat > /run/halves.sh << 'end'
      socat -t 600 TCP6-LISTEN:\(say),\(listen) EXEC:'head -n 1 /run/say' &
      perl /run/hearer.pl &
      exec socat TCP6-LISTEN:\(closeFirst),\(listen) EXEC:'head -c 1'
      end
      mkfifo /run/say
      touch /run/heard
      systemd-run --quiet sh /run/halves.sh
      until [ $(ss -Htln '( sport >= :\(say) and sport <= :\(closeFirst) )' | wc -l) = 3 ]; do sleep 0.1; done
      """, from: scene.client)
  }
}

extension PresenceTests {
  @Test("A client that has closed its half before the sleep hears the guest after it")
  func clientHalfClosed() async throws {
    try await HalfService.start(on: scene)
    try await withOnlooker { onlooker in
      let half = try await EchoConnection(
        from: onlooker.client, to: scene.guest.addresses.ipv6, port: HalfService.say)
      try half.finishSending()
      let mark = try onlooker.watch.mark()
      try await onlooker.whileAsleep { try await onlooker.untilAnswered(after: mark) }
      // The guest is the first to say something, and says it with timestamps newer than the sentry's.
      try await onlooker.wakes {
        try await scene.guest.run(
          "ss -Htan state close-wait '( sport = :\(HalfService.say) )' | grep -q . && echo late > /run/say",
          from: scene.client)
        try await half.expect(Array("late\n".utf8), within: Self.patience)
      }
      try await half.waitForEnd(within: Self.patience)
      try await noConnectionLeft(onlooker, port: HalfService.say)
    }
  }

  @Test("A guest that has closed its half before the sleep hears the client after it")
  func guestHalfClosed() async throws {
    try await HalfService.start(on: scene)
    try await withOnlooker { onlooker in
      let half = try await EchoConnection(
        from: onlooker.client, to: scene.guest.addresses.ipv4, port: HalfService.hear)
      try await half.waitForEnd(within: Self.patience)
      let mark = try onlooker.watch.mark()
      try await onlooker.whileAsleep { try await onlooker.untilAnswered(after: mark) }
      try await onlooker.wakes { try await half.send(Array("after the end\n".utf8)) }
      try half.finishSending()
      try await eventually("the guest to hear it", within: Self.patience) {
        try await scene.guest.run("cat /run/heard", from: scene.client).contains("after the end")
          ? () : nil
      }
      try await noConnectionLeft(onlooker, port: HalfService.hear)
    }
  }

  @Test("Both close at once, and a guest that waits after closing first is asked again")
  func closedByBoth() async throws {
    try await HalfService.start(on: scene)
    try await withOnlooker { onlooker in
      for losesAnswer in [false, true] {
        let closing = try await EchoConnection(
          from: onlooker.client, to: scene.guest.addresses.ipv4, port: HalfService.closeFirst,
          keepalive: nil)
        if losesAnswer {
          // The guest's last word is lost: it waits (TIME-WAIT), the client asks again (LAST-ACK).
          try await closing.echo([0x78], within: Self.patience)
          try await closing.waitForEnd(within: Self.patience)
          onlooker.wire.lose(.number(1), from: .network, port: HalfService.closeFirst)
          try closing.finishSending()
        } else {
          // The guest's FIN is lost, so that the client's crosses its repetition.
          onlooker.wire.lose(.finish, from: .network, port: HalfService.closeFirst)
          try await closing.echo([0x78], within: Self.patience)
          try await onlooker.untilLost()
          try closing.finishSending()
        }
        try await onlooker.untilLost()
        try await scene.sleepAtOnce()
        if !losesAnswer { try await closing.waitForEnd(within: Self.patience) }
        try await noConnectionLeft(onlooker, port: HalfService.closeFirst)
      }
    }
  }

  @Test(
    "A reset waits for the guest; one out of the window is none, one beside the point is questioned"
  )
  func resets() async throws {
    try await withOnlooker { onlooker in
      let sender = try await FrameSender(on: onlooker.client)
      var connections: [EchoConnection] = []
      var last: [ObservedSegment] = []
      for address in [0, 1, 0].map({ scene.guest.addresses.both[$0] }) {
        let mark = try onlooker.watch.mark()
        let echo = try await EchoConnection(from: onlooker.client, to: address, keepalive: nil)
        try await echo.echo(Array("before".utf8))
        connections.append(echo)
        try last.append(
          #require(
            onlooker.watch.sightings(after: mark).compactMap { ObservedSegment($0.frame[...]) }
              .last { $0.flow.reversed.destinationPort == 7777 }))
      }
      try await onlooker.whileAsleep {
        // Exactly what the guest expects next: it ends. In its window: RFC 5961 has it questioned. Outside.
        for (segment, offset) in zip(last, [0, 10, 0x4000_0000] as [UInt32]) {
          try sender.send(reset(segment, offset, onlooker))
        }
        try await Task.sleep(for: .milliseconds(700))
      }
      try await onlooker.wakes {
        try await connections[1].echo(Array("after".utf8), within: Self.patience)
      }
      try await connections[2].echo(Array("after".utf8), within: Self.patience)
      let mark = try onlooker.watch.mark()
      let error = await #expect(throws: TestBedError.self) {
        try await connections[0].echo(Array("too late".utf8), within: Self.patience)
      }
      #expect(error?.code == .connection)
      // The guest knows nothing of the connection any more.
      #expect(
        try onlooker.watch.sightings(after: mark).contains {
          $0.speaker == .guest && ObservedSegment($0.frame[...])?.isReset == true
        })
      for echo in connections.dropFirst() {
        try echo.finishSending()
        try await echo.waitForEnd(within: Self.patience)
      }
    }
  }

  /// A client's RST on the connection that a segment of the guest's belongs to.
  private func reset(
    _ segment: ObservedSegment, _ offset: UInt32, _ onlooker: Onlooker
  ) throws -> [UInt8] {
    let mac = try #require(
      onlooker.wire.passages.first { $0.origin == .client && $0.frame.count >= 12 }?.frame[6..<12])
    return TestFrames.reset(
      from: Array(mac), to: TestFrames.bytes(ofMAC: scene.guest.addresses.macAddress),
      answering: segment, sequence: segment.acknowledgement &+ offset)
  }
}
