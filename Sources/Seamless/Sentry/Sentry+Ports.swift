import Frames

extension Sentry {
  /// What the guest would answer to the opening of a connection, or a datagram, at a port that is
  /// certainly closed; nil where that is not certain.
  mutating func closedPortVerdict(
    for packet: IPPacket, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict? {
    guard let index = table.index(of: packet.destination),
      table.address(at: index)?.evidence == .proven, packet.trafficClass == 0
    else { return nil }
    let kind: PortProtocol
    let port: UInt16
    switch packet.transport {
    case .tcp(let segment): (kind, port) = (.tcp, segment.destinationPort)
    case .udp(let datagram): (kind, port) = (.udp, datagram.destinationPort)
    case .icmp, .icmpv6, .igmp, .fragment, .other: return nil
    }
    switch table.unusedPortTrust(port, kind) {
    case nil: return nil
    case .exact:
      guard
        table.hasRefused(
          packet.source, from: header.source, at: port, kind, localIndex: index)
      else { return nil }
    case .list:
      guard table.hasRefusedAnybody(kind, family: packet.source.family) else { return nil }
    }
    return refusal(of: packet, index, header, frame, now, &replies)
  }

  /// Answers as a Linux guest does for a port that nobody listens on; nil for what it would not answer so,
  /// or not now.
  mutating func refusal(
    of packet: IPPacket, _ index: Int, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict? {
    var route = route(answering: packet)
    switch packet.transport {
    case .tcp(let segment):
      let key = FlowKey(
        localIndex: index, localPort: segment.destinationPort, remote: packet.source,
        remotePort: segment.sourcePort)
      // Other flags may be judged otherwise by a firewall, and a known connection by the guest itself.
      guard segment.flags.contains(.syn), segment.flags.isSubset(of: [.syn, .ece, .cwr]),
        !segment.isSigned, table.cursor(key) == nil
      else { return nil }
      // The class of what is refused, without the bits of congestion notification.
      route.trafficClass = packet.trafficClass & ~3
      replies.appendReset(refusing: segment, link: link(answering: header), route: route)
      return .answer(1)
    case .udp(let datagram):
      // Over IPv6 a datagram without checksum is dropped, unless somebody listens who wants such.
      guard datagram.hasChecksum || packet.source.family == 4 else { return nil }
      // Silence is an answer, too: guests limit these themselves (icmp(7), icmp_ratelimit).
      guard unreachables.take(at: now) else { return .ignore(.closedPort) }
      replies.appendPortUnreachable(
        quoting: packet, at: header.payloadOffset, of: frame, link: link(answering: header),
        route: route)
      return .answer(1)
    case .icmp, .icmpv6, .igmp, .fragment, .other:
      return nil
    }
  }
}
