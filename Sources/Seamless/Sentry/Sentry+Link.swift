import Frames

/// ARP, neighbour discovery and group membership: what a host says to its own link.
extension Sentry {
  /// The least time between two defences of an address, in seconds (RFC 5227, DEFEND_INTERVAL).
  private static let defendInterval: UInt32 = 10

  mutating func verdict(
    for arp: ARPPacket, _ header: EthernetHeader, _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict {
    guard arp.senderMAC != table.guest else { return .ignore(.loop) }
    guard !arp.senderMAC.isGroup, arp.senderMAC != .zero else { return .ignore(.malformed) }
    let network = header.tags.network
    if let index = table.index(of: .v4(arp.sender)), let local = table.address(at: index),
      local.evidence == .proven, local.network == network
    {
      guard mayDefend(local, index, now) else { return .ignore(.defendedAlready) }
      replies.appendARP(
        ARPPacket(
          operation: .request, senderMAC: table.guest, sender: arp.sender, targetMAC: .zero,
          target: arp.sender),
        link: link(answering: header, to: .broadcast))
      return .answer(1)
    }
    guard arp.operation == .request else { return .ignore(.neighbour) }
    let isGroup = header.destination.isGroup
    guard let index = table.index(of: .v4(arp.target)), let local = table.address(at: index),
      local.network == network
    else {
      return isGroup ? .ignore(.otherTarget) : doubt(.unknownAddress, nil, now)
    }
    guard local.evidence == .proven else { return doubt(.unprovenAddress, nil, now) }
    replies.appendARP(
      ARPPacket(
        operation: .reply, senderMAC: table.guest, sender: arp.target, targetMAC: arp.senderMAC,
        target: arp.sender),
      link: link(answering: header, to: arp.senderMAC))
    return .answer(1)
  }

  /// Whether an address may be defended now, which then counts as done.
  private func mayDefend(_ local: LearnedAddress, _ index: Int, _ now: UInt64) -> Bool {
    let seconds = monotonicSeconds(now)
    guard local.defended == 0 || seconds &- local.defended >= Self.defendInterval else {
      return false
    }
    table.setDefended(seconds, at: index)
    return true
  }

  /// An IP packet to a group or to everybody.
  mutating func groupVerdict(
    for packet: IPPacket, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) throws(FrameError) -> Verdict {
    switch packet.transport {
    case .igmp(.query(let version, let group)):
      return igmpVerdict(version, group, header, &replies)
    case .icmpv6(let message):
      return try linkVerdict(for: message, packet, header, frame, now, &replies)
        ?? .ignore(.group)
    default:
      return .ignore(.group)
    }
  }

  private func igmpVerdict(
    _ version: Int, _ group: IPv4Address, _ header: EthernetHeader, _ replies: inout FrameBuffer
  ) -> Verdict {
    var groups = table.ipv4Groups
    if group != .unspecified { groups.removeAll { $0 != group } }
    guard !groups.isEmpty else { return .ignore(.group) }
    var source = IPv4Address.unspecified
    for local in table.addresses
    where local.evidence == .proven && local.network == header.tags.network {
      guard case .v4(let address) = local.address else { continue }
      source = address
      break
    }
    replies.appendIGMPReports(
      groups, version: version, from: source, mac: table.guest, tags: header.tags)
    return .answer(1)
  }

  /// Neighbour discovery and listener discovery; `nil` for other ICMPv6 messages.
  mutating func linkVerdict(
    for message: ICMPMessage, _ packet: IPPacket, _ header: EthernetHeader,
    _ frame: UnsafeRawBufferPointer, _ now: UInt64, _ replies: inout FrameBuffer
  ) throws(FrameError) -> Verdict? {
    if let neighbour = try NeighbourDiscovery(parsing: message, of: packet, in: frame) {
      switch neighbour {
      case .solicitation(let target, let linkLayer):
        return solicitationVerdict(target, linkLayer, packet, header, now, &replies)
      case .advertisement(let target, _, let linkLayer):
        return advertisementVerdict(target, linkLayer, header, now, &replies)
      case .routerSolicitation, .routerAdvertisement, .redirect:
        return .ignore(.neighbour)
      }
    }
    switch try MLDMessage(parsing: message, of: packet, in: frame) {
    case .query(let version, let group):
      guard case .v6(let source) = packet.source, source.isLinkLocal else {
        return .ignore(.malformed)
      }
      return mldVerdict(version, group, header, &replies)
    case .report, .done, .reportV2:
      return .ignore(.group)
    case nil:
      return nil
    }
  }

  private mutating func solicitationVerdict(
    _ target: IPv6Address, _ linkLayer: MACAddress?, _ packet: IPPacket,
    _ header: EthernetHeader, _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict {
    guard let index = table.index(of: .v6(target)), let local = table.address(at: index),
      local.network == header.tags.network
    else {
      return header.destination.isGroup
        ? .ignore(.otherTarget) : doubt(.unknownAddress, nil, now)
    }
    guard local.evidence == .proven else { return doubt(.unprovenAddress, nil, now) }
    guard case .v6(let asker) = packet.source else { return .ignore(.malformed) }
    var flags: NeighbourDiscovery.Flags = local.isRouter ? [.router, .override] : [.override]
    if asker == .unspecified {
      // Somebody wants the address for itself (RFC 4862, 5.4.3).
      replies.appendNeighbourAdvertisement(
        target: target, at: table.guest, flags: flags,
        link: link(answering: header, to: IPv6Address.allNodes.multicastMAC), to: .allNodes)
      return .answer(1)
    }
    let mac = linkLayer ?? header.source
    guard asker.canBeOwned, asker != target, !mac.isGroup, mac != table.guest else {
      return .ignore(.malformed)
    }
    flags.insert(.solicited)
    replies.appendNeighbourAdvertisement(
      target: target, at: table.guest, flags: flags, link: link(answering: header, to: mac),
      to: asker)
    return .answer(1)
  }

  private mutating func advertisementVerdict(
    _ target: IPv6Address, _ linkLayer: MACAddress?, _ header: EthernetHeader, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    guard (linkLayer ?? header.source) != table.guest,
      let index = table.index(of: .v6(target)), let local = table.address(at: index),
      local.evidence == .proven, local.network == header.tags.network
    else { return .ignore(.neighbour) }
    guard mayDefend(local, index, now) else { return .ignore(.defendedAlready) }
    replies.appendNeighbourAdvertisement(
      target: target, at: table.guest, flags: local.isRouter ? [.router, .override] : [.override],
      link: link(answering: header, to: IPv6Address.allNodes.multicastMAC), to: .allNodes)
    return .answer(1)
  }

  private func mldVerdict(
    _ version: Int, _ group: IPv6Address, _ header: EthernetHeader, _ replies: inout FrameBuffer
  ) -> Verdict {
    var groups = table.ipv6Groups
    if group != .unspecified { groups.removeAll { $0 != group } }
    guard !groups.isEmpty else { return .ignore(.group) }
    var source = IPv6Address.unspecified
    for local in table.addresses
    where local.evidence == .proven && local.network == header.tags.network {
      guard case .v6(let address) = local.address, address.isLinkLocal else { continue }
      source = address
      break
    }
    replies.appendMLDReports(
      groups, version: version, from: source, mac: table.guest, tags: header.tags)
    return .answer(1)
  }
}
