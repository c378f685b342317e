import Frames

/// What a frame says about whether the VM is being used.
public enum Activity: Int, CaseIterable, Hashable, Sendable {
  /// TCP payload that is not a keepalive's.
  case payload
  /// The beginning or end of a TCP connection.
  case connection
  /// A UDP datagram to one machine.
  case datagram
  /// Any other packet to one machine, fragments included.
  case otherUnicast
  /// A TCP segment without news: an acknowledgement, a keepalive or a zero-window probe.
  case acknowledgement
  /// ICMP: echoes and reports of errors.
  case control
  /// ARP and neighbour discovery.
  case neighbour
  /// Broadcasts and multicasts.
  case group
  /// What every machine does unasked to keep its lease and its clock: DHCP and NTP as a client.
  case housekeeping
  /// What would be use, but a rule says that it need not wake the VM.
  case ruledOut
  /// Frames of other machines that a switch has flooded.
  case foreign
  /// Frames that their receiver drops.
  case malformed

  /// Whether somebody is served by the VM or by whom it asks. All else goes on when nobody does.
  public var isUse: Bool {
    switch self {
    case .payload, .connection, .datagram, .otherUnicast: true
    case .acknowledgement, .control, .neighbour, .group, .housekeeping, .ruledOut, .foreign,
      .malformed:
      false
    }
  }

  /// Classifies a frame between the guest and another machine.
  /// - Parameters:
  ///   - remotePort: tells which of the two ports is not the guest's.
  ///   - expected: for a TCP segment, the sequence number that its receiver expects, if known.
  init(
    _ packet: NetworkPacket, isGroup: Bool, remotePort: (FlowDescription.Ports) -> UInt16,
    expected: UInt32?
  ) {
    guard case .ip(let ip) = packet else {
      if case .arp = packet { self = .neighbour } else { self = isGroup ? .group : .otherUnicast }
      return
    }
    switch ip.transport {
    case .icmpv6(let message) where (133...137).contains(message.type):
      self = .neighbour
    case _ where isGroup || ip.destination.isMulticast:
      self = .group
    case .tcp(let segment):
      if !segment.flags.isDisjoint(with: [.syn, .fin, .rst]) {
        self = .connection
      } else if segment.payloadLength == 0 {
        self = .acknowledgement
      } else {
        let position = expected.map {
          SegmentPosition(
            sequence: segment.sequence, payloadLength: segment.payloadLength, expected: $0)
        }
        self = position == .probe ? .acknowledgement : .payload
      }
    case .udp(let datagram):
      let port = remotePort(
        FlowDescription.Ports(source: datagram.sourcePort, destination: datagram.destinationPort))
      self = [67, 123, 547].contains(port) ? .housekeeping : .datagram
    case .icmp, .icmpv6:
      self = .control
    case .igmp:
      self = .group
    case .fragment, .other:
      self = .otherUnicast
    }
  }
}
