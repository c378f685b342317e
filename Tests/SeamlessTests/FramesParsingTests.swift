import Frames
import Testing

private let alice = MACAddress(rawValue: 0x02_00_00_00_00_0a)
private let bob = MACAddress(rawValue: 0x02_00_00_00_00_0b)
private let alice4 = IPAddress.v4(IPv4Address(10, 0, 0, 1))
private let bob4 = IPAddress.v4(IPv4Address(10, 0, 0, 2))
private let alice6 = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 0xa))
private let bob6 = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 0xb))

private func frame(_ packet: Bytes, _ address: IPAddress, tags: [Int] = []) -> Bytes {
  ethernet(to: bob, from: alice, tags: tags, type: etherType(address), packet)
}

private func ipPacket(_ frame: Bytes, checksums: ChecksumPolicy = .verify) throws -> IPPacket {
  guard case .ip(let packet) = try parse(frame, checksums: checksums) else {
    throw FrameError(.inconsistent, "not IP")
  }
  return packet
}

@Suite("Parsing frames")
struct FramesParsingTests {
  @Test("Tags, none to two, and what comes after them", arguments: [[], [5], [0x2007, 0x0009]])
  func tags(_ tags: [Int]) throws {
    let bytes = ethernet(
      to: bob, from: alice, tags: tags, type: 0x0806, arp(1, alice, alice4, .zero, bob4))
    let header = try bytes.withUnsafeBytes { try EthernetHeader(parsing: $0) }
    #expect(header.destination == bob && header.source == alice && header.etherType == .arp)
    #expect(header.payloadOffset == 14 + 4 * tags.count)
    #expect(header.tags.outer?.number == tags.first.map { UInt16($0 & 0xfff) })
    #expect(header.tags.inner?.number == (tags.count == 2 ? 9 : nil))
    guard case .arp(let packet) = try parse(bytes) else {
      Issue.record("no ARP packet")
      return
    }
    #expect(packet.operation == .request && packet.senderMAC == alice)
    #expect(IPAddress.v4(packet.sender) == alice4 && IPAddress.v4(packet.target) == bob4)
  }

  @Test("A TCP segment with all its options", arguments: [(alice4, bob4), (alice6, bob6)])
  func tcp(_ source: IPAddress, _ destination: IPAddress) throws {
    let fields = TCPFields(
      source: source, destination: destination, sequence: 0xffff_fff0, acknowledgement: 7,
      flags: [.syn, .ack], window: 4321, timestamps: (11, 12),
      options: [2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 1], payload: Bytes(repeating: 9, count: 33))
    let packet = try ipPacket(frame(ip(source, destination, 6, fields.bytes), source))
    #expect(packet.source == source && packet.destination == destination && packet.hopLimit == 64)
    guard case .tcp(let segment) = packet.transport else {
      Issue.record("no TCP segment")
      return
    }
    #expect(segment.sequence == 0xffff_fff0 && segment.acknowledgement == 7)
    #expect(segment.flags == [.syn, .ack] && segment.window == 4321)
    #expect(segment.payloadLength == 33 && segment.end == 0xffff_fff0 &+ 34)
    #expect(segment.timestamps == TCPTimestamps(value: 11, echo: 12))
    #expect(segment.windowScale == 7 && segment.permitsSACK && !segment.isSigned)
  }

  @Test("Ethernet padding is no payload")
  func padding() throws {
    let fields = TCPFields(source: alice4, destination: bob4)
    let packet = try ipPacket(
      frame(ip(alice4, bob4, 6, fields.bytes) + [0, 0, 0, 0, 0, 0], alice4))
    guard case .tcp(let segment) = packet.transport else {
      Issue.record("no TCP segment")
      return
    }
    #expect(segment.payloadLength == 0)
  }

  @Test(
    "Malformed TCP options are refused",
    arguments: [[8, 9, 0, 0], [8, 0], [2], [3, 4, 1, 1], [4, 3, 0, 1], [254, 255], [254, 3]]
      as [Bytes])
  func tcpOptions(_ options: Bytes) {
    var padded = options
    // The last option must not find the length that it lacks in the padding.
    while padded.count % 4 != 0 { padded.insert(1, at: 0) }
    let fields = TCPFields(source: alice4, destination: bob4, options: padded)
    #expect(parseFailure(frame(ip(alice4, bob4, 6, fields.bytes), alice4)) == .tcpOptions)
  }

  @Test("A signed segment is known as such", arguments: [19, 29] as [UInt8])
  func signed(_ kind: UInt8) throws {
    let option = [kind, 18] + Bytes(repeating: 1, count: 16)
    let fields = TCPFields(source: alice4, destination: bob4, options: option)
    guard
      case .tcp(let segment) = try ipPacket(frame(ip(alice4, bob4, 6, fields.bytes), alice4))
        .transport
    else {
      Issue.record("no TCP segment")
      return
    }
    #expect(segment.isSigned)
  }

  @Test("Any wrong bit is noticed", arguments: [(alice4, bob4), (alice6, bob6)])
  func checksums(_ source: IPAddress, _ destination: IPAddress) throws {
    let fields = TCPFields(source: source, destination: destination, payload: [1, 2, 3])
    let good = frame(ip(source, destination, 6, fields.bytes), source)
    #expect(parseFailure(good) == nil)
    for index in 14..<good.count {
      var bad = good
      bad[index] ^= 0x10
      // IPv6 protects neither its traffic class and flow label nor its hop limit.
      if case .v6 = source, [14, 15, 16, 17, 21].contains(index) { continue }
      // A protocol without a known checksum is none that could be answered.
      if index == (source == alice4 ? 23 : 20) { continue }
      #expect(parseFailure(bad) != nil, "byte \(index)")
    }
    var late = good
    late[late.count - 1] ^= 1
    #expect(parseFailure(late) == .checksum)
    #expect(try ipPacket(late, checksums: .trust).source == source)
  }

  @Test("Every truncation of every kind of frame is refused, and crashes nothing")
  func truncation() {
    let frames = [
      ethernet(to: bob, from: alice, type: 0x0806, arp(1, alice, alice4, .zero, bob4)),
      frame(ip(alice4, bob4, 6, TCPFields(source: alice4, destination: bob4).bytes), alice4),
      frame(
        ip(alice6, bob6, 6, TCPFields(source: alice6, destination: bob6).bytes), alice6, tags: [3]),
      frame(ip(alice4, bob4, 17, udp(alice4, bob4, from: 1, to: 2)), alice4),
      frame(ip(alice6, bob6, 58, icmp(alice6, bob6, type: 128, [1, 2, 3, 4])), alice6),
      frame(ip(alice4, bob4, 1, icmp(alice4, bob4, type: 8, [1, 2, 3, 4])), alice4, tags: [1, 2]),
    ]
    for frame in frames {
      #expect(parseFailure(frame) == nil)
      for length in 0..<frame.count {
        #expect(parseFailure(Bytes(frame[..<length])) != nil, "\(length) of \(frame.count) bytes")
      }
    }
  }

  @Test("A capture that was cut shows its headers and true length")
  func cut() throws {
    let payload = Bytes(repeating: 7, count: 1200)
    let fields = TCPFields(source: alice4, destination: bob4, payload: payload)
    let whole = frame(ip(alice4, bob4, 6, fields.bytes), alice4)
    let packet = try whole[..<100].withUnsafeBytes { bytes in
      try NetworkPacket(
        parsing: bytes, after: try EthernetHeader(parsing: bytes), wireLength: whole.count,
        checksums: .trust)
    }
    guard case .ip(let packet) = packet, case .tcp(let segment) = packet.transport else {
      Issue.record("no TCP segment")
      return
    }
    #expect(segment.payloadLength == 1200)
    #expect(parseFailure(Bytes(whole[..<100])) == .truncated)
  }

  @Test("IPv4 options are followed, fragments recognised")
  func ipv4() throws {
    let body = TCPFields(source: alice4, destination: bob4).bytes
    #expect(
      try ipPacket(frame(ip(alice4, bob4, 6, body, options: [0x94, 4, 0, 0]), alice4)).hasOptions)
    #expect(
      parseFailure(frame(ip(alice4, bob4, 6, body, options: [7, 9, 1, 1]), alice4)) == .options)
    #expect(
      parseFailure(frame(ip(alice4, bob4, 6, body, options: [7, 1, 1, 1]), alice4)) == .options)
    for fragment in [0x2000, 0x0001, 0x2001] {
      let packet = try ipPacket(frame(ip(alice4, bob4, 6, body, fragment: fragment), alice4))
      #expect(packet.isFragment && packet.transport == .fragment)
    }
    #expect(try !ipPacket(frame(ip(alice4, bob4, 6, body, fragment: 0x4000), alice4)).isFragment)
  }

  @Test("IPv6 extension headers are followed, eight and no more")
  func ipv6() throws {
    let body = TCPFields(source: alice6, destination: bob6).bytes
    func chain(_ count: Int) -> Bytes {
      (0..<count).flatMap { index in [index == count - 1 ? 6 : 60, 0, 1, 4, 0, 0, 0, 0] as Bytes }
    }
    for count in 1...8 {
      let packet = try ipPacket(
        frame(ip(alice6, bob6, 6, body, options: chain(count), optionType: 60), alice6))
      #expect(packet.hasOptions && packet.protocolNumber == 6)
      guard case .tcp = packet.transport else {
        Issue.record("no TCP segment behind \(count) headers")
        return
      }
    }
    #expect(
      parseFailure(frame(ip(alice6, bob6, 6, body, options: chain(9), optionType: 60), alice6))
        == .extensionHeaders)
    let fragment = try ipPacket(
      frame(ip(alice6, bob6, 6, body, options: [6, 0, 0, 1, 0, 0, 0, 9], optionType: 44), alice6))
    #expect(fragment.isFragment && fragment.protocolNumber == 6)
    #expect(
      parseFailure(
        frame(ip(alice6, bob6, 6, [], options: [6, 200, 0, 1, 0, 0, 0, 9], optionType: 0), alice6))
        == .truncated)
  }

  @Test("UDP lengths are bounded, and a checksum of zero is none")
  func udpLengths() throws {
    var none = udp(alice4, bob4, from: 5, to: 6)
    none.replaceSubrange(6..<8, with: [0, 0])
    guard
      case .udp(let datagram) = try ipPacket(frame(ip(alice4, bob4, 17, none), alice4)).transport
    else {
      Issue.record("no datagram")
      return
    }
    #expect(datagram.sourcePort == 5 && datagram.destinationPort == 6 && datagram.length == 9)
    for length in [0, 7, 10, 65535] {
      var wrong = none
      wrong.replaceSubrange(4..<6, with: be16(length))
      #expect(parseFailure(frame(ip(alice4, bob4, 17, wrong), alice4)) == .inconsistent)
    }
  }

  @Test("Neighbour discovery is validated as its RFC demands")
  func neighbours() throws {
    let target = wireForm(bob6)
    func read(_ body: Bytes, type: Int = 135, hops: Int = 255) throws -> NeighbourDiscovery? {
      let bytes = frame(
        ip(alice6, bob6, 58, icmp(alice6, bob6, type: type, body), hops: hops), alice6)
      let packet = try ipPacket(bytes)
      guard case .icmpv6(let message) = packet.transport else { return nil }
      return try bytes.withUnsafeBytes {
        try NeighbourDiscovery(parsing: message, of: packet, in: $0)
      }
    }
    guard case .v6(let bobAddress) = bob6 else { return }
    #expect(
      try read([0, 0, 0, 0] + target + [1, 1] + wireForm(alice))
        == .solicitation(target: bobAddress, linkLayer: alice))
    #expect(
      try read(
        [0x60, 0, 0, 0] + target + [14, 1, 0, 0, 0, 0, 0, 0, 2, 1] + wireForm(bob), type: 136)
        == .advertisement(target: bobAddress, flags: [.solicited, .override], linkLayer: bob))
    #expect(try read([0, 0, 0, 0], type: 133) == .routerSolicitation)
    #expect(try read(Bytes(repeating: 0, count: 12), type: 134) == .routerAdvertisement)
    #expect(try read(Bytes(repeating: 0, count: 8), type: 128) == nil)
    #expect(throws: FrameError.self) { try read([0, 0, 0, 0] + target, hops: 254) }
    #expect(throws: FrameError.self) {
      try read([0, 0, 0, 0] + target + [1, 0] + wireForm(alice))
    }
    #expect(throws: FrameError.self) {
      try read([0, 0, 0, 0] + target + [1, 2] + wireForm(alice))
    }
    #expect(throws: FrameError.self) { try read([0, 0, 0, 0] + target + [1]) }
    #expect(throws: FrameError.self) { try read([0, 0, 0, 0] + Bytes(target[..<12])) }
    #expect(throws: FrameError.self) { try read([0, 0, 0, 0, 0xff] + target[1...]) }
  }

  @Test("Membership reports are read record by record, as far as they go")
  func membership() throws {
    let group = Bytes([239, 1, 1, 1])
    let records: Bytes =
      [4, 0, 0, 0] + group + [1, 1, 0, 2, 239, 2, 2, 2] + Bytes(repeating: 5, count: 12)
      + [3, 0, 0, 0, 239, 3, 3, 3]
    func changes(_ count: Int) throws -> [String] {
      let report = summed(
        [0x22, 0, 0, 0, 0, 0] + be16(count) + records, at: 2, alice4, bob4, 2, pseudo: false)
      let bytes = frame(ip(alice4, bob4, 2, report), alice4)
      guard case .igmp(let message) = try ipPacket(bytes).transport else { return [] }
      var found: [String] = []
      bytes.withUnsafeBytes { message.forEachChange(in: $0) { found.append("\($0) \($1)") } }
      return found
    }
    let all = ["239.1.1.1 joined", "239.2.2.2 joined", "239.3.3.3 left"]
    #expect(try changes(3) == all)
    #expect(try changes(2) == Array(all[..<2]))
    #expect(try changes(65535) == all)
  }
}
