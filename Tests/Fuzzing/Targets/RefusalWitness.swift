import Seamless

/// Remembers whom the guest has refused where, and judges the refusals in its name by that, by the list of
/// the ports that it uses, and by the rules.
///
/// What it forgets, it forgets only for frames that no reader can read in two ways.
struct RefusalWitness {
  private struct Port: Hashable {
    let isTCP: Bool
    let local: [UInt8]
    let peer: [UInt8]
    let number: UInt64
  }

  private struct Opening: Hashable {
    let port: Port
    let peerPort: UInt64
    let end: UInt32
  }

  private struct Kind: Hashable {
    let isTCP: Bool
    let isIPv6: Bool
  }

  private var openings: Set<Opening> = []
  private var refused: Set<Port> = []
  private var refusedEver: Set<Kind> = []
  /// The guest was heard in a VLAN: which of its addresses a frame is about is not looked into here.
  private var hasTags = false
  /// What the guest uses in the present sleep; nil when nothing is known.
  var used: UsedPorts?
  var rules: [RuleSketch] = []
  /// ICMP errors of the present sentry, and since when there is one, in nanoseconds.
  private var unreachables: UInt64 = 0
  private var since: UInt64

  init(at now: UInt64) {
    since = now
  }

  mutating func replaceSentry(at now: UInt64) {
    unreachables = 0
    since = now
  }

  // MARK: - What is said

  mutating func hear(toGuest frame: WireFrame) {
    guard let packet = frame.packet, let segment = WireSegment(packet, in: frame.bytes),
      segment.flags & 0x17 == 0x02
    else { return }
    let port = Port(
      isTCP: true, local: [UInt8](packet.destination), peer: [UInt8](packet.source),
      number: segment.destinationPort)
    openings.insert(Opening(port: port, peerPort: segment.sourcePort, end: segment.end))
    if frame.destination.elementsEqual(Station.guest.mac), isPlain(frame, packet),
      segment.options.isEmpty
    {
      refused.remove(port)
    }
  }

  mutating func hear(fromGuest frame: WireFrame) {
    if frame.tagsAndType.count > 2 { hasTags = true }
    guard let packet = frame.packet else { return }
    let local = [UInt8](packet.source)
    let peer = [UInt8](packet.destination)
    if let segment = WireSegment(packet, in: frame.bytes) {
      let port = Port(isTCP: true, local: local, peer: peer, number: segment.sourcePort)
      let opening = Opening(
        port: port, peerPort: segment.destinationPort, end: segment.acknowledgement)
      if segment.flags == 0x14, segment.sequence == 0, openings.contains(opening) {
        refuse(port, packet)
      } else if segment.flags == 0x12, segment.options.isEmpty, isPlain(frame, packet) {
        forget(port)
      }
      return
    }
    let start = packet.transport.lowerBound
    if packet.protocolNumber == 17, packet.transport.count >= 8, isPlain(frame, packet),
      bigEndian(frame.bytes, start + 4, 2) == packet.transport.count
    {
      forget(
        Port(isTCP: false, local: local, peer: peer, number: bigEndian(frame.bytes, start, 2)))
    }
    // The quoted datagram follows its IP header.
    let inner = start + 8
    guard packet.protocolNumber == (packet.isIPv6 ? 58 : 1), inner < packet.transport.upperBound,
      frame.bytes[start] == (packet.isIPv6 ? 1 : 3)
    else { return }
    let header = packet.isIPv6 ? 40 : Int(frame.bytes[inner] & 15) * 4
    guard inner + header + 4 <= packet.transport.upperBound else { return }
    refuse(
      Port(
        isTCP: false, local: local, peer: peer,
        number: bigEndian(frame.bytes, inner + header + 2, 2)), packet)
  }

  private mutating func refuse(_ port: Port, _ packet: WirePacket) {
    refused.insert(port)
    refusedEver.insert(Kind(isTCP: port.isTCP, isIPv6: packet.isIPv6))
  }

  /// Somebody in the guest uses the port.
  private mutating func forget(_ port: Port) {
    refused = refused.filter {
      ($0.isTCP, $0.local, $0.number) != (port.isTCP, port.local, port.number)
    }
  }

  private func isPlain(_ frame: WireFrame, _ packet: WirePacket) -> Bool {
    let first = packet.destination[packet.destination.startIndex]
    return !hasTags && frame.tagsAndType.count == 2 && frame.defect == nil && !packet.isFragment
      && packet.transport.lowerBound == frame.network + (packet.isIPv6 ? 40 : 20)
      && frame.destination.first.map { $0 & 1 } == 0
      && (packet.isIPv6 ? first != 0xff : !(224...255).contains(first))
  }

  // MARK: - Judgement

  /// Judges the RST that answers the opening of a connection.
  func judge(
    reset: WireSegment, _ packet: WirePacket, to probe: WireSegment, _ asked: WirePacket,
    in frame: WireFrame
  ) throws(FuzzFinding) {
    try demand(
      probe.flags & 0x17 == 0x02, "a RST for something else than the opening of a connection")
    try demand(
      reset.flags == 0x14 && reset.sequence == 0 && reset.acknowledgement == probe.end
        && reset.window == 0 && reset.options.isEmpty && reset.payloadLength == 0
        && reset.sourcePort == probe.destinationPort && reset.destinationPort == probe.sourcePort,
      "a RST that no closed port sends")
    try demand(
      isReply(packet, to: asked) && mayRefuse(asked, at: probe.destinationPort, in: frame),
      "a connection is refused at port \(probe.destinationPort), which may be open")
  }

  /// Judges an ICMP error; `message` is the message.
  mutating func judge(
    unreachable message: ArraySlice<UInt8>, _ packet: WirePacket, to asked: WireFrame,
    at now: UInt64
  ) throws(FuzzFinding) {
    guard let datagram = asked.packet, datagram.protocolNumber == 17, !datagram.isFragment,
      datagram.transport.count >= 8
    else { throw FuzzFinding("a closed port where no datagram went") }
    try demand(
      message.dropFirst(1).first == (packet.isIPv6 ? 4 : 3)
        && message.dropFirst(4).prefix(4).allSatisfy { $0 == 0 }, "an ICMP error of another kind")
    let quoted = asked.bytes[asked.network..<datagram.transport.upperBound]
    try demand(
      message.dropFirst(8).elementsEqual(quoted.prefix(packet.isIPv6 ? 1232 : 548)),
      "an ICMP error about something else")
    let port = bigEndian(asked.bytes, datagram.transport.lowerBound + 2, 2)
    try demand(
      isReply(packet, to: datagram) && mayRefuse(datagram, at: port, in: asked),
      "a datagram is refused at port \(port), which may be open")
    unreachables += 1
    try demand(
      unreachables <= 6 + (now - since) / 1_000_000_000, "more ICMP errors than one in a second")
  }

  /// Judges that a frame wakes the guest for what it carries: a new connection, new data, a datagram.
  func judge(wakeFor asked: WireFrame) throws(FuzzFinding) {
    guard let packet = asked.packet,
      let rule = rules.first(where: { $0.matches(packet, in: asked.bytes) })
    else { return }
    try demand(
      rule.verdict == .wake || rule.isLimited, "a frame wakes, and a rule says \(rule.verdict)")
  }

  private func isReply(_ packet: WirePacket, to asked: WirePacket) -> Bool {
    packet.source.elementsEqual(asked.destination) && packet.destination.elementsEqual(asked.source)
  }

  private func mayRefuse(_ asked: WirePacket, at port: UInt64, in frame: WireFrame) -> Bool {
    if let rule = rules.first(where: { $0.matches(asked, in: frame.bytes) }),
      rule.verdict == .refuse
    {
      return true
    }
    let isTCP = asked.protocolNumber == 6
    guard let used, !(isTCP ? used.tcp : used.udp).contains(UInt16(port)) else { return false }
    switch used.trust {
    case .exact:
      return refused.contains(
        Port(
          isTCP: isTCP, local: [UInt8](asked.destination), peer: [UInt8](asked.source),
          number: port))
    case .list:
      return refusedEver.contains(Kind(isTCP: isTCP, isIPv6: asked.isIPv6))
    }
  }
}
