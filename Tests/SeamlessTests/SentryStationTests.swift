import Frames
import Seamless
import Testing

@Suite("Where answers go on the link")
struct SentryStationTests {
  private typealias Wire = SentryScene.Wire

  /// A router that forwards for the peer, and the address that the guest sends to instead.
  private static let router = MACAddress(rawValue: 0x5254_0077_0001)
  private static let gateway = MACAddress(rawValue: 0x0000_5e00_0101)

  private func frame(_ bytes: Bytes, from mac: MACAddress) -> Bytes {
    Bytes(bytes[..<6]) + wireForm(mac) + bytes[12...]
  }

  private func frame(_ bytes: Bytes, to mac: MACAddress) -> Bytes {
    wireForm(mac) + bytes[6...]
  }

  @Test("A keepalive from another station wakes", arguments: Wire.plain)
  func keepalive(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(SentryScene.peerMAC))
    #expect(
      scene.judge(frame(scene.peerSegment(), from: Self.router)).wakes(.unexpectedSegment))
    #expect(scene.answers.isEmpty)
  }

  @Test(
    "A guest that sends to another station than it hears is answered for so", arguments: Wire.plain)
  func anotherWay(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let heard = frame(
      scene.peerSegment { $0.sequence = scene.guestAcknowledgement }, from: Self.router)
    scene.hear(heard, .toGuest)
    // It goes on sending to where it told the peer its address, and sent the connection's segments.
    let probe = frame(scene.peerSegment(), from: Self.router)
    #expect(scene.judge(probe) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(SentryScene.peerMAC))
    scene.hear(frame(scene.guestSegment(), to: Self.gateway), .fromGuest)
    #expect(scene.judge(probe) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(Self.gateway))
    #expect(scene.judge(scene.peerSegment()).wakes(.unexpectedSegment))
    #expect(scene.judge(frame(scene.peerSegment(), from: Self.gateway)).wakes(.unexpectedSegment))
    // The guest finds the router itself.
    scene.hear(frame(scene.guestSegment(), to: Self.router), .fromGuest)
    #expect(scene.judge(probe) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(Self.router))
  }

  @Test(
    "Where the guest answered pings once says nothing about a connection", arguments: Wire.plain)
  func staleWay(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    scene.hear(frame(scene.echoReply(), to: Self.gateway), .fromGuest)
    let heard = frame(
      scene.peerSegment { $0.sequence = scene.guestAcknowledgement }, from: Self.router)
    scene.hear(heard, .toGuest)
    let probe = frame(scene.peerSegment(), from: Self.router)
    #expect(scene.judge(probe).wakes(.unexpectedSegment))
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(scene.judge(probe) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(SentryScene.peerMAC))
  }

  @Test("An echo request is answered by the way of the guest's last answer", arguments: Wire.plain)
  func echo(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    scene.hear(scene.echoReply(), .fromGuest)
    #expect(scene.judge(scene.echoRequest()) == .answer(1))
    #expect(scene.judge(frame(scene.echoRequest(), from: Self.router)).wakes(.icmp))
    let other: IPAddress =
      wire.isIPv6 ? .v6(IPv6Address(high: 0xfd00 << 48, low: 3)) : .v4(IPv4Address(10, 0, 0, 3))
    #expect(scene.judge(scene.echoRequest(from: other)).wakes(.icmp))
    // Who asks for the guest's address is known to it then.
    #expect(
      scene.judge(scene.question(about: scene.guest, from: other, mac: Self.router)) == .answer(1))
    #expect(scene.judge(frame(scene.echoRequest(from: other), from: Self.router)) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(Self.router))
    #expect(scene.judge(scene.echoRequest(from: other)).wakes(.icmp))
    // The guest answers another station than it is asked by.
    scene.hear(frame(scene.echoReply(), to: Self.gateway), .fromGuest)
    #expect(scene.judge(scene.echoRequest()).wakes(.icmp))
    scene.hear(scene.echoRequest(), .toGuest)
    #expect(scene.judge(scene.echoRequest()) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(Self.gateway))
    // What a successor finds is the same.
    var next = Sentry(table: try scene.attached(), mtu: 1500, at: scene.now)
    var replies = FrameBuffer()
    let verdict = scene.echoRequest().withUnsafeBytes {
      next.verdict(for: $0, at: scene.now, replies: &replies)
    }
    #expect(verdict == .answer(1))
    #expect(replies.withFrame(0) { Bytes($0[..<6]) } == wireForm(Self.gateway))
  }

  @Test(
    "Who asks for the guest's address from beyond its networks shows no way to there",
    arguments: Wire.plain)
  func farAsker(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    scene.hear(scene.echoReply(), .fromGuest)
    let far: IPAddress =
      wire.isIPv6 ? .v6(IPv6Address(high: 0x2001_0db8 << 32, low: 9)) : .v4(IPv4Address(8, 8, 8, 8))
    let echo = frame(scene.echoRequest(from: far), from: Self.router)
    #expect(scene.judge(echo).wakes(.icmp))
    // The guest answers such questions whatever its routes say. What else comes from there it does not, without
    // a route.
    scene.hear(scene.question(about: scene.guest, from: far, mac: Self.router), .toGuest)
    scene.hear(scene.assertion(of: scene.guest, to: far, Self.router), .fromGuest)
    #expect(scene.judge(echo).wakes(.icmp))
    scene.hear(frame(scene.echoReply(to: far), to: Self.router), .fromGuest)
    #expect(scene.judge(echo) == .answer(1))
  }

  @Test("What a link-local address sends to shows no way beyond the link")
  func linkLocal() throws {
    let scene = try SentryScene(Wire.plain[1])
    scene.establish()
    scene.hear(scene.echoReply(), .fromGuest)
    let linkLocal = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 7))
    let stranger = IPAddress.v6(IPv6Address(high: 0x2001_0db8 << 32, low: 1))
    func verdict(_ own: IPAddress) -> Verdict {
      scene.judge(
        scene.fromPeer(
          ip(stranger, own, 58, icmp(stranger, own, type: 128, [0, 0, 0, 0]))))
    }
    func says(_ own: IPAddress, _ peer: IPAddress) {
      let reply = ip(own, peer, 58, icmp(own, peer, type: 129, [0, 0, 0, 0]))
      scene.hear(scene.fromGuest(reply), .fromGuest)
    }
    says(linkLocal, scene.peer)
    #expect(verdict(scene.guest).wakes(.icmp))
    #expect(verdict(linkLocal).wakes(.icmp))
    let another = IPAddress.v6(IPv6Address(high: 0x2001_0db8 << 32, low: 2))
    says(scene.guest, another)
    #expect(verdict(scene.guest) == .answer(1))
    #expect(verdict(linkLocal).wakes(.icmp))
  }

  @Test("More peers than there is room for cost wakes only")
  func room() throws {
    let scene = try SentryScene(Wire.plain[0])
    scene.establish()
    func address(_ peer: Int) -> IPAddress { .v4(IPv4Address(10, 0, 0, UInt8(peer))) }
    func station(_ peer: Int) -> MACAddress {
      MACAddress(rawValue: 0x0200_0000_0000 | UInt64(peer))
    }
    for peer in 10..<250 {
      let body = icmp(scene.guest, address(peer), type: 0, [0, 0, 0, 0])
      scene.hear(
        scene.fromGuest(ip(scene.guest, address(peer), 1, body), to: station(peer)), .fromGuest)
      scene.now += SentryScene.second
    }
    var answered = 0
    for peer in 10..<250 {
      // Doubts are limited.
      scene.now += 20 * SentryScene.second
      let verdict = scene.judge(
        frame(scene.echoRequest(from: address(peer)), from: station(peer)))
      guard verdict == .answer(1) else {
        #expect(verdict.wakes(.icmp))
        continue
      }
      answered += 1
      #expect(Bytes(scene.answers[0][..<6]) == wireForm(station(peer)))
    }
    #expect((40...60).contains(answered))
  }

  @Test("Who asks the guest alone without its MAC is answered by a known way")
  func soleQuestion() throws {
    let scene = try SentryScene(Wire.plain[1])
    scene.establish()
    let body = Bytes([0, 0, 0, 0]) + wireForm(scene.guest)
    func question(_ asker: IPAddress) -> Bytes {
      scene.fromPeer(
        ip(asker, scene.guest, 58, icmp(asker, scene.guest, type: 135, body), hops: 255))
    }
    #expect(
      scene.judge(question(.v6(IPv6Address(high: 0xfd00 << 48, low: 3)))).wakes(.unknownAddress))
    // The guest has told the peer of its address.
    #expect(scene.judge(question(scene.peer)) == .answer(1))
    #expect(Bytes(scene.answers[0][..<6]) == wireForm(SentryScene.peerMAC))
    #expect(
      scene.judge(frame(question(scene.peer), from: Self.router)).wakes(.unknownAddress))
  }
}
