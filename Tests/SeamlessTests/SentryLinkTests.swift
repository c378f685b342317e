import Frames
import Seamless
import Testing

private typealias Wire = SentryScene.Wire

@Suite("Verdicts on everything but TCP")
struct SentryLinkTests {
  private func asleep(_ wire: SentryScene.Wire) throws -> SentryScene {
    let scene = try SentryScene(wire)
    scene.establish()
    return scene
  }

  /// The only reply, its checksums and source checked.
  private func reply(_ scene: SentryScene) throws -> Bytes {
    let answer = try #require(scene.answers.first)
    #expect(scene.answers.count == 1)
    #expect(defect(in: answer) == nil)
    #expect(Bytes(answer[6..<12]) == wireForm(SentryScene.guestMAC))
    #expect(
      answer[12..<12 + 4 * scene.tags.count]
        == Bytes(scene.tags.flatMap { [0x81, 0] + be16($0) })[...])
    return answer
  }

  @Test("The question for a learned address is answered", arguments: Wire.all)
  func question(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    #expect(scene.judge(scene.question(about: scene.guest)) == .answer(1))
    let answer = try reply(scene)
    #expect(Bytes(answer[..<6]) == wireForm(SentryScene.peerMAC))
    if wire.isIPv6 {
      guard case .ip(let packet) = try parse(answer), case .icmpv6(let message) = packet.transport,
        case .v6(let address) = scene.guest
      else {
        Issue.record("no ICMPv6")
        return
      }
      #expect(
        packet.hopLimit == 255 && packet.destination == scene.peer && packet.source == scene.guest)
      let advertisement = try answer.withUnsafeBytes {
        try NeighbourDiscovery(parsing: message, of: packet, in: $0)
      }
      #expect(
        advertisement
          == .advertisement(
            target: address, flags: [.solicited, .override], linkLayer: SentryScene.guestMAC))
    } else {
      #expect(
        Bytes(answer[(14 + 4 * scene.tags.count)...])
          == arp(2, SentryScene.guestMAC, scene.guest, SentryScene.peerMAC, scene.peer))
    }
  }

  @Test("A probe for the address by one who has none yet is answered", arguments: Wire.plain)
  func probe(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let none: IPAddress = wire.isIPv6 ? .v6(.unspecified) : .v4(.unspecified)
    #expect(scene.judge(scene.question(about: scene.guest, from: none)) == .answer(1))
    let answer = try reply(scene)
    if wire.isIPv6 {
      #expect(Bytes(answer[..<6]) == wireForm(IPv6Address.allNodes.multicastMAC))
      #expect(Bytes(answer[38..<54]) == wireForm(.v6(.allNodes)))
      #expect(answer[58] == 0x20)
    } else {
      #expect(Bytes(answer[38..<42]) == [0, 0, 0, 0])
    }
  }

  @Test("An address that another claims is the guest's to defend", arguments: Wire.plain)
  func claim(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let claim: Bytes
    if wire.isIPv6 {
      let nodes = IPAddress.v6(.allNodes)
      let body = [0x20, 0, 0, 0] + wireForm(scene.guest) + [2, 1] + wireForm(SentryScene.peerMAC)
      claim = scene.fromPeer(
        ip(scene.guest, nodes, 58, icmp(scene.guest, nodes, type: 136, body), hops: 255),
        to: IPv6Address.allNodes.multicastMAC)
    } else {
      claim = ethernet(
        to: .broadcast, from: SentryScene.peerMAC, type: 0x0806,
        arp(1, SentryScene.peerMAC, scene.guest, .zero, scene.guest))
    }
    #expect(scene.judge(claim).wakes(.addressConflict))
    #expect(scene.answers.isEmpty)
  }

  @Test("Odd questions for an address are the guest's", arguments: Wire.plain)
  func oddQuestions(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let prioritized = try asleep(Wire(isIPv6: wire.isIPv6, timestamps: true))
    var tagged = prioritized.question(about: scene.guest)
    tagged.insert(contentsOf: [0x81, 0, 0x60, 0], at: 12)
    #expect(prioritized.judge(tagged).wakes(.vlan))
    #expect(prioritized.answers.isEmpty)
    guard wire.isIPv6, case .v6(let address) = scene.guest else {
      let distant = scene.question(about: scene.guest, from: .v4(IPv4Address(224, 0, 0, 1)))
      #expect(scene.judge(distant).wakes(.unknownAddress))
      var other = scene.question(about: scene.guest)
      other[15] = 6
      #expect(scene.judge(other) == .answer(1))
      return
    }
    func question(_ options: Bytes, to group: IPAddress, _ mac: MACAddress) -> Verdict {
      let body = Bytes([0, 0, 0, 0]) + wireForm(scene.guest) + options
      return scene.judge(
        scene.fromPeer(
          ip(scene.peer, group, 58, icmp(scene.peer, group, type: 135, body), hops: 255), to: mac))
    }
    let own = IPAddress.v6(address.solicitedNode)
    let group = address.solicitedNode.multicastMAC
    let mac = Bytes([1, 1]) + wireForm(SentryScene.peerMAC)
    #expect(question(mac, to: own, group) == .answer(1))
    #expect(question([], to: own, group).wakes(.unknownAddress))
    #expect(
      question([1, 2] + mac.suffix(6) + Bytes(repeating: 0, count: 8), to: own, group)
        == .ignore(.malformed))
    // Groups that the guest has not joined do not reach it.
    let routers = IPv6Address(high: 0xff02 << 48, low: 2)
    #expect(question(mac, to: .v6(routers), routers.multicastMAC) == .ignore(.group))
    #expect(question(mac, to: own, routers.multicastMAC) == .ignore(.group))
    #expect(question(mac, to: .v6(routers), SentryScene.guestMAC) == .ignore(.group))
    // The address of everybody's group is one that the interface takes.
    #expect(question(mac, to: own, IPv6Address.allNodes.multicastMAC) == .answer(1))
    // A question to the group is one, whatever brought it.
    #expect(question(mac, to: own, SentryScene.guestMAC) == .answer(1))
    #expect(try reply(scene).count == 14 + 40 + 32)
    let elsewhere = IPAddress.v6(IPv6Address(high: 0xfd00 << 48, low: 99))
    #expect(question(mac, to: elsewhere, SentryScene.guestMAC).wakes(.unknownAddress))
    // One who asks the guest alone is told no more than that it is there.
    func isToldMAC() throws -> Bool {
      #expect(question(mac, to: scene.guest, SentryScene.guestMAC) == .answer(1))
      let answer = try reply(scene)
      #expect(answer[58] == (answer.count == 14 + 40 + 32 ? 0x60 : 0x40))
      return answer.count != 14 + 40 + 24
    }
    #expect(try !isToldMAC())
    // Unless this guest was seen to tell such a one more. What it tells a group says nothing.
    func ask(_ destination: IPAddress) {
      let body = Bytes([0, 0, 0, 0]) + wireForm(scene.guest) + mac
      let message = icmp(scene.peer, destination, type: 135, body)
      scene.hear(scene.fromPeer(ip(scene.peer, destination, 58, message, hops: 255)), .toGuest)
    }
    ask(own)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(try !isToldMAC())
    ask(own)
    ask(scene.guest)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(try !isToldMAC())
    ask(scene.guest)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(try isToldMAC())
  }

  @Test("Questions from where no neighbour is are the guest's")
  func oddAskers() throws {
    let scene = try asleep(Wire(isIPv6: true, timestamps: true))
    func verdict(_ low: UInt64, high: UInt64 = 0) -> Verdict {
      scene.judge(
        scene.question(about: scene.guest, from: .v6(IPv6Address(high: high, low: low))))
    }
    #expect(
      scene.judge(scene.question(about: scene.guest, from: scene.guest)).wakes(.unknownAddress))
    #expect(verdict(0xffff_0102_0304).wakes(.unknownAddress))
    #expect(verdict(1) == .ignore(.malformed))
    #expect(verdict(1, high: 0xff02 << 48) == .ignore(.malformed))
    // Another's probe may go to any group of the kind that the guest is in.
    let linkLocal = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 0x99))
    scene.hear(scene.assertion(of: linkLocal), .fromGuest)
    guard case .v6(let address) = linkLocal else { return }
    let group = IPAddress.v6(address.solicitedNode)
    let none = IPAddress.v6(.unspecified)
    let probe = ip(
      none, group, 58,
      icmp(none, group, type: 135, Bytes([0, 0, 0, 0]) + wireForm(scene.guest)), hops: 255)
    #expect(
      scene.judge(scene.fromPeer(probe, to: address.solicitedNode.multicastMAC)) == .answer(1))
  }

  @Test("Groups that the guest's interface leaves aside are none of its", arguments: Wire.plain)
  func otherGroups(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    func verdict(_ mac: UInt64) -> Verdict {
      scene.judge(wireForm(MACAddress(rawValue: mac)) + scene.question(about: scene.guest)[6...])
    }
    #expect(verdict(0xffff_ffff_ffff) == .answer(1))
    #expect(verdict(0xffff_ff53_ffff) == .ignore(.group))
    #expect(verdict(0x0180_c200_0021) == .ignore(.group))
    #expect(verdict(0x3333_0000_0002) == .ignore(.group))
    #expect(verdict(0x3333_0000_0001) == (wire.isIPv6 ? .answer(1) : .ignore(.group)))
    if !wire.isIPv6 { #expect(verdict(0x0100_5e00_0001) == .answer(1)) }
  }

  @Test("Damage behind an address or an option does not hide these", arguments: Wire.plain)
  func damaged(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let other: IPAddress = wire.isIPv6 ? .v6(.unspecified) : .v4(IPv4Address(10, 0, 0, 99))
    // The checksum is that for another address.
    let segment = TCPFields(source: scene.peer, destination: scene.guest).bytes
    #expect(scene.judge(scene.fromPeer(ip(scene.peer, other, 6, segment))).wakes(.unknownAddress))
    #expect(
      scene.judge(scene.fromPeer(ip(scene.peer, other, 6, [1, 2]))).wakes(.unknownAddress))
    let broken = segment.dropLast() + [segment[segment.count - 1] ^ 1]
    #expect(
      scene.judge(scene.fromPeer(ip(scene.peer, scene.guest, 6, Bytes(broken))))
        == .ignore(.badChecksum))
    let options: Bytes = wire.isIPv6 ? [6, 0, 1, 4, 0, 0, 0, 0] : [0x94, 4, 0, 0]
    let packet = ip(scene.peer, scene.guest, 6, Bytes(broken), options: options, optionType: 60)
    #expect(scene.judge(scene.fromPeer(packet)).wakes(.options))
  }

  @Test("Questions about others, and answers, are nothing to the guest", arguments: Wire.plain)
  func others(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let other: IPAddress =
      wire.isIPv6 ? .v6(IPv6Address(high: 0xfd00 << 48, low: 99)) : .v4(IPv4Address(10, 0, 0, 99))
    // An IPv6 question goes to a group that the guest is not in.
    #expect(
      scene.judge(scene.question(about: other)) == .ignore(wire.isIPv6 ? .group : .otherTarget))
    #expect(
      scene.judge(scene.question(about: scene.guest, mac: SentryScene.guestMAC)) == .ignore(.loop))
    let tagged = try asleep(Wire(isIPv6: wire.isIPv6, timestamps: true, tag: 6))
    // On another VLAN the address is not the guest's; which VLAN a group is joined on is not known.
    #expect(
      scene.judge(tagged.question(about: scene.guest))
        == (wire.isIPv6 ? .wake(.unknownAddress, nil) : .ignore(.otherTarget)))
    if !wire.isIPv6 {
      let answer = ethernet(
        to: SentryScene.guestMAC, from: SentryScene.peerMAC, type: 0x0806,
        arp(2, SentryScene.peerMAC, scene.peer, SentryScene.guestMAC, scene.guest))
      #expect(scene.judge(answer) == .ignore(.neighbour))
    }
  }

  @Test("An echo request is answered with its own data", arguments: Wire.all)
  func echo(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    // Some guests answer none.
    #expect(scene.judge(scene.echoRequest()).wakes(.icmp))
    scene.hear(scene.echoReply(), .fromGuest)
    for length in [0, 1, 56, wire.isIPv6 ? 1452 : 1472] {
      let body = [0x12, 0x34, 0, 9] + (0..<length).map { UInt8(truncatingIfNeeded: $0) }
      let type = wire.isIPv6 ? 128 : 8
      let request = scene.fromPeer(
        ip(
          scene.peer, scene.guest, wire.isIPv6 ? 58 : 1,
          icmp(scene.peer, scene.guest, type: type, body)))
      #expect(scene.judge(request) == .answer(1))
      let answer = try reply(scene)
      guard case .ip(let packet) = try parse(answer) else { return }
      #expect(packet.source == scene.guest && packet.destination == scene.peer)
      #expect(packet.hopLimit == 63)
      let start = answer.count - body.count - 4
      #expect(answer[start] == (wire.isIPv6 ? 129 : 0))
      #expect(Bytes(answer[(start + 4)...]) == body)
    }
    let long = scene.fromPeer(
      ip(
        scene.peer, scene.guest, wire.isIPv6 ? 58 : 1,
        icmp(scene.peer, scene.guest, type: wire.isIPv6 ? 128 : 8, Bytes(repeating: 0, count: 1477))
      ))
    #expect(scene.judge(long).wakes(.oversized))
    #expect(scene.judge(scene.echoRequest(code: 1)).wakes(.icmp))
    #expect(scene.judge(scene.echoRequest(from: scene.guest)) == .ignore(.malformed))
    // Nobody knows of a way back to a stranger.
    let stranger: IPAddress =
      wire.isIPv6 ? .v6(IPv6Address(high: 0x2001_0db8 << 32, low: 1)) : .v4(IPv4Address(8, 8, 8, 8))
    #expect(scene.judge(scene.echoRequest(from: stranger)).wakes(.icmp))
    scene.hear(
      scene.fromGuest(ip(scene.guest, stranger, 17, udp(scene.guest, stranger, from: 1, to: 2))),
      .fromGuest)
    #expect(scene.judge(scene.echoRequest(from: stranger)) == .answer(1))
  }

  @Test("A guest that stops answering echo requests is not answered for", arguments: Wire.plain)
  func echoOff(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    scene.hear(scene.echoReply(), .fromGuest)
    #expect(scene.judge(scene.echoRequest()) == .answer(1))
    for _ in 0..<4 {
      scene.hear(scene.echoRequest(), .toGuest)
      scene.now += 2 * SentryScene.second
    }
    #expect(scene.judge(scene.echoRequest()).wakes(.icmp))
  }

  @Test("Other ICMP is not worth a wake", arguments: Wire.plain)
  func otherICMP(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    for type in wire.isIPv6 ? [1, 2, 129] : [0, 3, 5, 11] {
      let frame = scene.fromPeer(
        ip(
          scene.peer, scene.guest, wire.isIPv6 ? 58 : 1,
          icmp(scene.peer, scene.guest, type: type, Bytes(repeating: 0, count: 32))))
      #expect(scene.judge(frame) == .ignore(.icmp))
    }
  }

  @Test("Datagrams wake, but for ports that the guest has lately refused", arguments: Wire.plain)
  func datagrams(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let question = ip(
      scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 5000, to: 161))
    #expect(scene.judge(scene.fromPeer(question)).wakes(.udp))
    let refusal = icmp(
      scene.guest, scene.peer, type: wire.isIPv6 ? 1 : 3, code: wire.isIPv6 ? 4 : 3,
      [0, 0, 0, 0] + question)
    let frame = scene.fromGuest(ip(scene.guest, scene.peer, wire.isIPv6 ? 58 : 1, refusal))
    scene.hear(frame, .fromGuest)
    #expect(scene.judge(scene.fromPeer(question)) == .ignore(.closedPort))
    let other = ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 5000, to: 162))
    #expect(scene.judge(scene.fromPeer(other)).wakes(.udp))
    // However long the guest sleeps, nothing has begun to listen.
    scene.now += 100_000 * SentryScene.second
    #expect(scene.judge(scene.fromPeer(question)) == .ignore(.closedPort))
    // Awake for so long, something may have.
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(scene.judge(scene.fromPeer(question)).wakes(.udp))
    scene.hear(frame, .fromGuest)
    #expect(scene.judge(scene.fromPeer(question)) == .ignore(.closedPort))
    let sent = ip(scene.guest, scene.peer, 17, udp(scene.guest, scene.peer, from: 161, to: 5000))
    scene.hear(scene.fromGuest(sent), .fromGuest)
    #expect(scene.judge(scene.fromPeer(question)).wakes(.udp))
  }

  @Test("What only the guest can judge wakes it", arguments: Wire.plain)
  func guestOnly(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let segment = TCPFields(source: scene.peer, destination: scene.guest).bytes
    let fragment =
      wire.isIPv6
      ? ip(scene.peer, scene.guest, 6, segment, options: [6, 0, 0, 1, 0, 0, 0, 1], optionType: 44)
      : ip(scene.peer, scene.guest, 6, segment, fragment: 0x2000)
    #expect(scene.judge(scene.fromPeer(fragment)).wakes(.fragment))
    let options =
      wire.isIPv6
      ? ip(scene.peer, scene.guest, 6, segment, options: [6, 0, 1, 4, 0, 0, 0, 0], optionType: 60)
      : ip(scene.peer, scene.guest, 6, segment, options: [0x94, 4, 0, 0])
    #expect(scene.judge(scene.fromPeer(options)).wakes(.options))
    #expect(
      scene.judge(scene.fromPeer(ip(scene.peer, scene.guest, 132, [1, 2, 3]))).wakes(
        .unknownProtocol))
    let other: IPAddress =
      wire.isIPv6 ? .v6(IPv6Address(high: 0xfd00 << 48, low: 99)) : .v4(IPv4Address(10, 0, 0, 99))
    #expect(scene.judge(scene.fromPeer(ip(scene.peer, other, 132, [1]))).wakes(.unknownAddress))
    if wire.isIPv6 {
      // An authentication header: sound, then longer than its packet.
      for length: UInt8 in [4, 90] {
        let packet = ip(
          scene.peer, scene.guest, 51, [6, length] + Bytes(repeating: 0, count: 22) + segment)
        #expect(
          scene.judge(scene.fromPeer(packet)).wakes(length == 4 ? .options : .unknownProtocol))
      }
    }
    let strange = ethernet(
      to: SentryScene.guestMAC, from: SentryScene.peerMAC, type: 0x88b5, [1, 2])
    #expect(scene.judge(strange).wakes(.unknownProtocol))
    let tagged = ethernet(
      to: SentryScene.guestMAC, from: SentryScene.peerMAC, tags: [9], type: etherType(scene.guest),
      ip(scene.peer, scene.guest, 132, [1]))
    #expect(scene.judge(tagged).wakes(.vlan))
  }

  @Test("Chatter, others' frames and the guest's own are passed over", arguments: Wire.plain)
  func chatter(_ wire: SentryScene.Wire) throws {
    let scene = try asleep(wire)
    let group: IPAddress =
      wire.isIPv6
      ? .v6(IPv6Address(high: 0xff02 << 48, low: 0xfb)) : .v4(IPv4Address(224, 0, 0, 251))
    let mdns = ip(scene.peer, group, 17, udp(scene.peer, group, from: 5353, to: 5353))
    #expect(
      scene.judge(scene.fromPeer(mdns, to: MACAddress(rawValue: 0x3333_0000_00fb)))
        == .ignore(.group))
    #expect(
      scene.judge(
        ethernet(
          to: MACAddress(rawValue: 0x0180_c200_0000), from: SentryScene.peerMAC, type: 38,
          Bytes(repeating: 0, count: 46)))
        == .ignore(.group))
    let echo = ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 1, to: 2))
    let flooded = scene.fromPeer(echo, to: MACAddress(rawValue: 0x5254_0011_1111))
    #expect(scene.judge(flooded) == .ignore(.otherMachine))
    #expect(scene.judge(scene.fromPeer(echo, from: SentryScene.guestMAC)) == .ignore(.loop))
    #expect(scene.judge(scene.fromPeer(echo, from: .broadcast)) == .ignore(.malformed))
    var broken = scene.fromPeer(echo)
    broken[broken.count - 1] ^= 0xff
    #expect(scene.judge(broken) == .ignore(.badChecksum))
    #expect(scene.judge(Bytes(broken[..<20])) == .ignore(.malformed))
    #expect(scene.judge([]) == .ignore(.malformed))
    let land = ip(scene.guest, scene.guest, 17, udp(scene.guest, scene.guest, from: 1, to: 2))
    #expect(scene.judge(scene.fromPeer(land)) == .ignore(.malformed))
  }

  @Test("IGMP queries get reports of the joined groups", arguments: [1, 2, 3])
  func igmp(_ version: Int) throws {
    let scene = try asleep(Wire(isIPv6: false, timestamps: true))
    let routers = IPAddress.v4(.igmpRouters)
    let joined: [IPv4Address] = [IPv4Address(239, 1, 1, 1), IPv4Address(239, 2, 2, 2)]
    for (type, group) in [
      (4, joined[0]), (4, joined[1]), (4, IPv4Address(239, 3, 3, 3)),
      (3, IPv4Address(239, 3, 3, 3)),
    ] {
      let report = summed(
        [0x22, 0, 0, 0, 0, 0, 0, 1, UInt8(type), 0, 0, 0] + wireForm(.v4(group)), at: 2,
        scene.guest,
        routers, 2, pseudo: false)
      scene.hear(
        scene.fromGuest(
          ip(scene.guest, routers, 2, report, hops: 1, options: [0x94, 4, 0, 0]),
          to: IPv4Address.igmpRouters.multicastMAC), .fromGuest)
    }
    #expect(scene.table.ipv4Groups == joined)

    func query(_ group: IPv4Address) -> Verdict {
      let destination = IPAddress.v4(group == .unspecified ? .allHosts : group)
      let message = summed(
        [0x11, version == 1 ? 0 : 100, 0, 0] + wireForm(.v4(group))
          + (version == 3 ? [2, 125, 0, 0] : []), at: 2, scene.peer, destination, 2, pseudo: false)
      return scene.judge(
        scene.fromPeer(
          ip(scene.peer, destination, 2, message, hops: 1, options: [0x94, 4, 0, 0]),
          to: group == .unspecified ? IPv4Address.allHosts.multicastMAC : group.multicastMAC))
    }
    #expect(query(.unspecified) == .answer(version == 3 ? 1 : 2))
    for (index, answer) in scene.answers.enumerated() {
      #expect(defect(in: answer) == nil)
      #expect(answer[14] == 0x46 && answer[15] == 0xc0)
      #expect(answer[22] == 1 && Bytes(answer[34..<38]) == [0x94, 4, 0, 0])
      #expect(Bytes(answer[26..<30]) == wireForm(scene.guest))
      if version == 3 {
        #expect(Bytes(answer[30..<34]) == [224, 0, 0, 22])
        #expect(
          Bytes(answer[44...])
            == [0, 2, 2, 0, 0, 0, 239, 1, 1, 1, 2, 0, 0, 0, 239, 2, 2, 2])
      } else {
        #expect(answer[38] == (version == 1 ? 0x12 : 0x16))
        #expect(Bytes(answer[42...]) == wireForm(.v4(joined[index])))
        #expect(Bytes(answer[30..<34]) == wireForm(.v4(joined[index])))
        #expect(Bytes(answer[..<6]) == wireForm(joined[index].multicastMAC))
      }
    }
    // In another VLAN the guest has joined nothing.
    let general = summed(
      [0x11, 100, 0, 0, 0, 0, 0, 0], at: 2, scene.peer, .v4(.allHosts), 2, pseudo: false)
    #expect(
      scene.judge(
        ethernet(
          to: IPv4Address.allHosts.multicastMAC, from: SentryScene.peerMAC, tags: [1],
          type: 0x0800, ip(scene.peer, .v4(.allHosts), 2, general, hops: 1))) == .ignore(.group))
    // Version 1 knows general queries only.
    #expect(query(joined[1]) == .answer(version == 1 ? 2 : 1))
    #expect(query(IPv4Address(239, 3, 3, 3)) == .ignore(.group))
    // Who has heard a querier of an old version speaks it for a while.
    let message = summed(
      [0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0], at: 2, scene.peer, .v4(.allHosts), 2,
      pseudo: false)
    let latest = scene.fromPeer(
      ip(scene.peer, .v4(.allHosts), 2, message, hops: 1), to: IPv4Address.allHosts.multicastMAC)
    #expect(scene.judge(latest) == .answer(version == 3 ? 1 : 2))
    #expect(version == 3 || scene.answers.first?[38] == (version == 1 ? 0x12 : 0x16))
    scene.now += 300 * SentryScene.second
    #expect(scene.judge(latest) == .answer(1))
  }

  @Test(
    "MLD queries get reports of the joined groups and the solicited-node ones", arguments: [1, 2])
  func mld(_ version: Int) throws {
    let scene = try asleep(Wire(isIPv6: true, timestamps: true))
    let linkLocal = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 7))
    scene.hear(scene.assertion(of: linkLocal), .fromGuest)
    let routers = IPAddress.v6(.mldRouters)
    let joined = IPv6Address(high: 0xff05 << 48, low: 0x1234)
    let alert: Bytes = [58, 0, 5, 2, 0, 0, 1, 0]
    let report = icmp(
      linkLocal, routers, type: 143, [0, 0, 0, 1, 4, 0, 0, 0] + wireForm(.v6(joined)))
    scene.hear(
      scene.fromGuest(
        ip(linkLocal, routers, 58, report, hops: 1, options: alert),
        to: IPv6Address.mldRouters.multicastMAC), .fromGuest)
    guard case .v6(let address) = scene.guest else { return }
    #expect(scene.table.ipv6Groups == [joined, address.solicitedNode])

    func query(_ group: IPv6Address, from source: IPAddress, hops: Int = 1) -> Verdict {
      let destination = IPAddress.v6(group == .unspecified ? .allNodes : group)
      let body = [0, 1, 0, 0] + wireForm(.v6(group)) + (version == 2 ? [2, 125, 0, 0] : [])
      return scene.judge(
        scene.fromPeer(
          ip(
            source, destination, 58, icmp(source, destination, type: 130, body), hops: hops,
            options: alert),
          to: group == .unspecified
            ? IPv6Address.allNodes.multicastMAC : group.multicastMAC))
    }
    let querier = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 1))
    #expect(query(.unspecified, from: querier) == .answer(version == 2 ? 1 : 2))
    for (index, answer) in scene.answers.enumerated() {
      #expect(defect(in: answer) == nil)
      #expect(answer[20] == 0 && answer[21] == 1 && Bytes(answer[54..<62]) == alert)
      #expect(Bytes(answer[22..<38]) == wireForm(linkLocal))
      if version == 2 {
        #expect(answer[62] == 143 && Bytes(answer[38..<54]) == wireForm(routers))
        #expect(
          Bytes(answer[68...])
            == [0, 2, 2, 0, 0, 0] + wireForm(.v6(joined)) + [2, 0, 0, 0]
            + wireForm(.v6(address.solicitedNode)))
      } else {
        let group = [joined, address.solicitedNode][index]
        #expect(answer[62] == 131 && Bytes(answer[70...]) == wireForm(.v6(group)))
        #expect(Bytes(answer[..<6]) == wireForm(group.multicastMAC))
      }
    }
    #expect(query(joined, from: querier) == .answer(1))
    // One of a length between the versions' is for those only who speak the first.
    let odd = icmp(
      querier, .v6(.allNodes), type: 130, [0, 1, 0, 0] + wireForm(.v6(joined)) + [0])
    let frame = scene.fromPeer(
      ip(querier, .v6(.allNodes), 58, odd, hops: 1, options: alert),
      to: IPv6Address.allNodes.multicastMAC)
    #expect(scene.judge(frame) == (version == 1 ? .answer(1) : .ignore(.malformed)))
    #expect(query(IPv6Address(high: 0xff05 << 48, low: 9), from: querier) == .ignore(.group))
    #expect(query(.unspecified, from: scene.peer) == .ignore(.malformed))
    #expect(query(.unspecified, from: querier, hops: 2) == .ignore(.malformed))
  }

  @Test("An address that the guest only sends from is asked of the guest", arguments: Wire.plain)
  func unproven(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    let sent = scene.fromGuest(
      ip(scene.guest, scene.peer, 17, udp(scene.guest, scene.peer, from: 1, to: 2)))
    scene.hear(sent, .fromGuest)
    #expect(scene.judge(scene.question(about: scene.guest)).wakes(.unprovenAddress))
    let echo = scene.fromPeer(
      ip(
        scene.peer, scene.guest, wire.isIPv6 ? 58 : 1,
        icmp(scene.peer, scene.guest, type: wire.isIPv6 ? 128 : 8, [0, 0, 0, 0])))
    #expect(scene.judge(echo).wakes(.unprovenAddress))
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(scene.judge(scene.question(about: scene.guest)) == .answer(1))
  }

  @Test("A link-local address that the guest sends from is its own: nobody forwards such packets")
  func linkLocalSource() throws {
    let scene = try SentryScene(SentryScene.Wire(isIPv6: true, timestamps: true))
    let linkLocal = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 7))
    let datagram = ip(linkLocal, scene.peer, 17, udp(linkLocal, scene.peer, from: 1, to: 2))
    scene.hear(scene.fromGuest(datagram), .fromGuest)
    #expect(scene.judge(scene.question(about: linkLocal)) == .answer(1))
    // Not that of a machine behind the guest, which has a MAC of its own.
    let other = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 8))
    scene.hear(
      ethernet(
        to: SentryScene.peerMAC, from: MACAddress(rawValue: 0x0200_0000_0009), type: 0x86dd,
        ip(other, scene.peer, 17, udp(other, scene.peer, from: 1, to: 2))), .fromGuest)
    #expect(scene.judge(scene.question(about: other)) == .ignore(.group))
  }

  @Test("Reasons have the words that the interface promises")
  func words() {
    #expect(
      WakeReason.allCases.map(\.rawValue) == [
        "payload", "syn", "fin", "unknownFlow", "unexpectedSegment", "timestamps", "udp",
        "fragment",
        "oversized", "options", "unknownAddress", "unprovenAddress", "vlan", "unknownProtocol",
        "icmp", "unexpectedQuery", "addressConflict",
      ])
    #expect(HoldReason.allCases.map(\.rawValue) == ["fin", "rst", "deferred"])
    #expect(
      IgnoreReason.allCases.map(\.rawValue) == [
        "malformed", "badChecksum", "otherMachine", "otherTarget", "loop", "group",
        "acknowledgement", "outOfWindow", "heldAlready", "closedPort", "rule", "icmp",
        "neighbour", "wakeLimit",
      ])
  }
}
