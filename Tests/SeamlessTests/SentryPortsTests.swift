import Frames
import Seamless
import Testing

@Suite("Ports that are known to be closed")
struct SentryPortsTests {
  typealias Wire = SentryScene.Wire

  private func syn(
    _ scene: SentryScene, to port: Int = 81, from source: Int = 50_000,
    _ change: (inout TCPFields) -> Void = { _ in }
  ) -> Bytes {
    scene.peerSegment {
      $0.flags = .syn
      $0.sourcePort = source
      $0.destinationPort = port
      $0.acknowledgement = 0
      $0.sequence = 100
      $0.timestamps = nil
      change(&$0)
    }
  }

  /// The guest's RST for `syn(_:to:from:_:)`.
  private func refusal(
    _ scene: SentryScene, of port: Int = 81, to source: Int = 50_000,
    _ change: (inout TCPFields) -> Void = { _ in }
  ) -> Bytes {
    scene.guestSegment {
      $0.flags = [.rst, .ack]
      $0.sourcePort = port
      $0.destinationPort = source
      $0.sequence = 0
      $0.acknowledgement = 101
      $0.window = 0
      $0.timestamps = nil
      change(&$0)
    }
  }

  /// The guest has refused port 81, and falls asleep with port 22 in use.
  private func asleep(
    _ wire: Wire, refused: Bool = true, trust: UsedPorts.Trust? = .exact
  ) throws -> SentryScene {
    let scene = try SentryScene(wire)
    scene.establish()
    if refused { refuse(scene) }
    sleep(scene, trust)
    return scene
  }

  private func refuse(_ scene: SentryScene, _ port: Int = 81) {
    scene.hear(syn(scene, to: port), .toGuest)
    scene.hear(refusal(scene, of: port), .fromGuest)
  }

  private func sleep(_ scene: SentryScene, _ trust: UsedPorts.Trust?, tcp: [UInt16] = [22]) {
    scene.table.forgetUsedPorts()
    if let trust { scene.table.setUsedPorts(UsedPorts(trust: trust, tcp: tcp, udp: [68])) }
    scene.sentry.beginSleep()
    scene.table.generation += 1
  }

  @Test("A port that was refused and is not in use gets the guest's own RST", arguments: Wire.all)
  func closed(_ wire: Wire) throws {
    let scene = try asleep(wire)
    #expect(scene.judge(syn(scene)) == .answer(1))
    let answer = try #require(scene.answers.first)
    #expect(defect(in: answer) == nil)
    let own = refusal(scene)
    // The test's frames number IPv4 packets 7 and let them be fragmented.
    #expect(Bytes(answer[(answer.count - 20)...]) == Bytes(own[(own.count - 20)...]))
    #expect(scene.judge(syn(scene, to: 22)).wakes(.syn))
    #expect(scene.judge(syn(scene, to: 82)).wakes(.syn))
    // Nobody knows where the guest would send it if another station asks for the peer.
    let other = syn(scene)
    let station = wireForm(MACAddress(rawValue: 0x5254_0077_0001))
    #expect(scene.judge(Bytes(other[..<6]) + station + other[12...]).wakes(.syn))
    // Asking does not use the answer up.
    #expect(scene.judge(syn(scene, from: 50_001)) == .answer(1))
  }

  @Test("Without both proofs it wakes", arguments: Wire.plain)
  func proofs(_ wire: Wire) throws {
    let unrefused = try asleep(wire, refused: false)
    #expect(unrefused.judge(syn(unrefused)).wakes(.syn))
    let unlisted = try asleep(wire, trust: nil)
    #expect(unlisted.judge(syn(unlisted)).wakes(.syn))
    let listed = try SentryScene(wire)
    listed.establish()
    refuse(listed)
    sleep(listed, .exact, tcp: [22, 81])
    #expect(listed.judge(syn(listed)).wakes(.syn))
    // A list is for one sleep.
    let later = try asleep(wire)
    later.table.generation += 1
    #expect(later.judge(syn(later)).wakes(.syn))
  }

  @Test("What one peer was told says nothing about another, unless the agent is trusted")
  func peers() throws {
    for (trust, known) in [(UsedPorts.Trust.exact, false), (.list, true)] {
      let scene = try asleep(Wire.plain[0], trust: trust)
      let stranger = IPAddress.v4(IPv4Address(10, 0, 0, 3))
      var fields = TCPFields(source: stranger, destination: scene.guest)
      fields.flags = .syn
      fields.destinationPort = 81
      let frame = scene.fromPeer(ip(stranger, scene.guest, 6, fields.bytes))
      #expect((scene.judge(frame) == .answer(1)) == known)
      #expect((scene.judge(syn(scene, to: 4000)) == .answer(1)) == known)
      #expect(scene.judge(syn(scene, to: 22)).wakes(.syn))
    }
    let silent = try asleep(Wire.plain[0], refused: false, trust: .list)
    #expect(silent.judge(syn(silent)).wakes(.syn))
  }

  @Test("Only a plain SYN is answered", arguments: Wire.plain)
  func otherSegments(_ wire: Wire) throws {
    let scene = try asleep(wire)
    for flags in [TCPFlags.ack, [.syn, .ack], [.syn, .fin], [.syn, .psh], [.syn, .urg], .fin] {
      _ = scene.judge(syn(scene) { $0.flags = flags })
      #expect(scene.answers.isEmpty)
    }
    #expect(scene.judge(syn(scene) { $0.payload = [1, 2] }) == .answer(1))
    #expect(scene.judge(syn(scene) { $0.flags = [.syn, .ece, .cwr] }) == .answer(1))
    let options = scene.fromPeer(
      ip(
        scene.peer, scene.guest, 6,
        TCPFields(source: scene.peer, destination: scene.guest, destinationPort: 81, flags: .syn)
          .bytes,
        options: wire.isIPv6 ? [6, 0, 1, 4, 0, 0, 0, 0] : [0x94, 4, 0, 0],
        optionType: wire.isIPv6 ? 60 : 0))
    #expect(scene.judge(options).wakes(.options))
  }

  @Test("Only the answer to a SYN shows that a port is closed", arguments: Wire.plain)
  func evidence(_ wire: Wire) throws {
    func refusedAfter(_ body: (SentryScene) -> Void) throws -> Bool {
      let scene = try SentryScene(wire)
      scene.establish()
      body(scene)
      sleep(scene, .exact)
      return scene.judge(syn(scene)) == .answer(1)
    }
    #expect(try refusedAfter { refuse($0) })
    // Of nothing, of another SYN, of a FIN.
    #expect(try !refusedAfter { $0.hear(refusal($0), .fromGuest) })
    #expect(
      try !refusedAfter {
        $0.hear(syn($0), .toGuest)
        $0.hear(refusal($0) { $0.acknowledgement = 102 }, .fromGuest)
      })
    #expect(
      try !refusedAfter {
        $0.hear(syn($0) { $0.flags = .fin }, .toGuest)
        $0.hear(refusal($0), .fromGuest)
      })
    #expect(
      try !refusedAfter {
        $0.hear(syn($0), .toGuest)
        $0.hear(refusal($0) { $0.flags = .rst }, .fromGuest)
      })
    // The next SYN was dropped: there is a firewall now.
    #expect(
      try !refusedAfter {
        refuse($0)
        $0.hear(syn($0, from: 50_002), .toGuest)
      })
    // Somebody listens now, and has shown it to another peer.
    #expect(
      try !refusedAfter {
        refuse($0)
        $0.hear(
          $0.guestSegment {
            $0.sourcePort = 81
            $0.destinationPort = 9
            $0.flags = [.syn, .ack]
          }, .fromGuest)
      })
  }

  @Test("What was seen ten minutes of waking ago does not count", arguments: Wire.plain)
  func age(_ wire: Wire) throws {
    let scene = try asleep(wire)
    scene.now += 100_000 * SentryScene.second
    #expect(scene.judge(syn(scene)) == .answer(1))
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(scene.judge(syn(scene)).wakes(.syn))
    refuse(scene)
    #expect(scene.judge(syn(scene)) == .answer(1))
  }

  @Test("Many SYNs may be on the way before the first is refused")
  func burst() throws {
    let scene = try SentryScene(Wire.plain[0])
    scene.establish()
    let ports = 1000..<1050
    for port in ports { scene.hear(syn(scene, to: port), .toGuest) }
    for port in ports { scene.hear(refusal(scene, of: port), .fromGuest) }
    sleep(scene, .exact)
    for port in ports { #expect(scene.judge(syn(scene, to: port)) == .answer(1)) }
  }

  @Test("More peers than there is room for cost wakes only")
  func room() throws {
    let scene = try SentryScene(Wire.plain[0])
    scene.establish()
    func fields(_ peer: Int) -> (source: IPAddress, syn: Bytes, refusal: Bytes) {
      let source = IPAddress.v4(IPv4Address(10, 0, 1, UInt8(peer)))
      var syn = TCPFields(source: source, destination: scene.guest, destinationPort: 81)
      syn.flags = .syn
      syn.sequence = 100
      var refusal = TCPFields(
        source: scene.guest, destination: source, sourcePort: 81, destinationPort: 40000)
      refusal.flags = [.rst, .ack]
      refusal.acknowledgement = 101
      refusal.window = 0
      return (
        source, scene.fromPeer(ip(source, scene.guest, 6, syn.bytes)),
        scene.fromGuest(ip(scene.guest, source, 6, refusal.bytes))
      )
    }
    for peer in 1...20 {
      scene.now += SentryScene.second
      scene.hear(fields(peer).syn, .toGuest)
      scene.hear(fields(peer).refusal, .fromGuest)
    }
    sleep(scene, .exact)
    for peer in 1...20 {
      let verdict = scene.judge(fields(peer).syn)
      #expect(peer > 12 ? verdict == .answer(1) : verdict.wakes(.syn))
    }
  }

  @Test("A closed UDP port is told to be so, as often as a guest would", arguments: Wire.plain)
  func datagrams(_ wire: Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let question = ip(
      scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 5000, to: 161))
    let own = scene.fromGuest(
      ip(
        scene.guest, scene.peer, wire.isIPv6 ? 58 : 1,
        icmp(
          scene.guest, scene.peer, type: wire.isIPv6 ? 1 : 3, code: wire.isIPv6 ? 4 : 3,
          [0, 0, 0, 0] + question)))
    scene.hear(own, .fromGuest)
    sleep(scene, .exact)
    for _ in 0..<6 { #expect(scene.judge(scene.fromPeer(question)) == .answer(1)) }
    let answer = try #require(scene.answers.first)
    #expect(defect(in: answer) == nil)
    let start = 14 + (wire.isIPv6 ? 40 : 20)
    #expect(Bytes(answer[start...]) == Bytes(own[start...]))
    #expect(scene.judge(scene.fromPeer(question)) == .ignore(.closedPort))
    // Zero for a length means the whole packet, zero for a checksum that there is none: over IPv6 only, and
    // IPv4 only.
    scene.now += 60 * SentryScene.second
    var datagram = be16(5000) + be16(161) + be16(0) + be16(0) + [1]
    datagram = summed(datagram, at: 6, scene.peer, scene.guest, 17)
    #expect(
      scene.judge(scene.fromPeer(ip(scene.peer, scene.guest, 17, datagram)))
        == (wire.isIPv6 ? .answer(1) : .ignore(.malformed)))
    datagram = be16(5000) + be16(161) + be16(9) + be16(0) + [1]
    #expect(
      scene.judge(scene.fromPeer(ip(scene.peer, scene.guest, 17, datagram)))
        == (wire.isIPv6 ? .ignore(.closedPort) : .answer(1)))
    let other = ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 5000, to: 68))
    #expect(scene.judge(scene.fromPeer(other)).wakes(.udp))
  }

  @Test("A successor finds what its predecessor knew")
  func successor() throws {
    let scene = try asleep(Wire.plain[0])
    var next = Sentry(table: try scene.attached(), mtu: 1500, at: scene.now)
    var replies = FrameBuffer()
    let verdict = syn(scene).withUnsafeBytes {
      next.verdict(for: $0, at: scene.now, replies: &replies)
    }
    #expect(verdict == .answer(1))
  }
}
