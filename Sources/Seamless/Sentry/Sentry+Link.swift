import Frames

/// ARP, neighbour discovery and group membership: what a host says to its own link.
extension Sentry {
  mutating func verdict(
    for arp: ARPPacket, _ header: EthernetHeader, _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict {
    guard arp.senderMAC != table.guest else { return .ignore(.loop) }
    let isGroup = header.destination.isGroup
    guard !isGroup || table.isListening(to: header.destination) else { return .ignore(.group) }
    let network = header.tags.network
    if let index = table.index(of: .v4(arp.sender)), let local = table.address(at: index),
      local.network == network
    {
      // Some hosts defend their addresses (RFC 5227), Linux's kernel does not.
      return doubt(.addressConflict, nil, now)
    }
    guard arp.operation == .request else { return .ignore(.neighbour) }
    guard let index = table.index(of: .v4(arp.target)), let local = table.address(at: index),
      local.network == network
    else {
      return isGroup ? .ignore(.otherTarget) : doubt(.unknownAddress, nil, now)
    }
    guard local.evidence == .proven else { return doubt(.unprovenAddress, nil, now) }
    // Whether others get an answer depends on how strictly the guest looks at where they come from.
    guard !arp.senderMAC.isGroup, arp.senderMAC != .zero,
      arp.sender == .unspecified
        || arp.sender.canBeOwned && arp.sender.rawValue >> 24 == arp.target.rawValue >> 24
    else { return doubt(.unknownAddress, nil, now) }
    if header.tags.isPriorityOnly { return doubt(.vlan, nil, now) }
    // The guest would know its neighbour from now on.
    if arp.sender != .unspecified, table.isNearGuest(.v4(arp.sender)) {
      table.setWay(to: .v4(arp.sender), arp.senderMAC)
    }
    replies.appendARP(
      ARPPacket(
        operation: .reply, senderMAC: table.guest, sender: arp.target, targetMAC: arp.senderMAC,
        target: arp.sender),
      link: link(answering: header, to: arp.senderMAC))
    return .answer(1)
  }

  /// An IP packet to a group or to everybody.
  mutating func groupVerdict(
    for packet: IPPacket, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) throws(FrameError) -> Verdict {
    switch packet.transport {
    case .igmp(.query(let version, let group, let sources)):
      guard !packet.isFragment, isForGuest(packet.destination, header) else {
        return .ignore(.group)
      }
      guard sources == 0, packet.source.canBeOwned, table.index(of: packet.source) == nil else {
        return doubt(.unexpectedQuery, nil, now)
      }
      guard !header.tags.isPriorityOnly else { return doubt(.vlan, nil, now) }
      return igmpVerdict(version, group, header, now, &replies)
    case .icmpv6(let message):
      guard isForGuest(packet.destination, header) else { return .ignore(.group) }
      return try linkVerdict(for: message, packet, header, frame, now, &replies)
        ?? .ignore(.group)
    default:
      return .ignore(.group)
    }
  }

  /// Whether the guest takes a packet to a group: it is a member, and its interface takes the frame.
  private func isForGuest(_ destination: IPAddress, _ header: EthernetHeader) -> Bool {
    guard !header.destination.isGroup || table.isListening(to: header.destination) else {
      return false
    }
    return switch destination {
    case .v4(let group): group == .allHosts || table.ipv4Groups.contains(group)
    case .v6(let group): group == .allNodes || table.isMember(of: group)
    }
  }

  private mutating func igmpVerdict(
    _ queryVersion: Int, _ group: IPv4Address, _ header: EthernetHeader, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    let own = table.addresses.filter {
      $0.network == header.tags.network && $0.address.family == 4
    }
    // In another VLAN nobody is asked that is known here.
    guard !own.isEmpty else { return .ignore(.group) }
    let seconds = monotonicSeconds(now)
    let version = table.igmpVersion(afterQueryOf: queryVersion, at: seconds)
    // A later version's query, heard by one who speaks the first, is a general one.
    let group = version == 1 ? .unspecified : group
    var groups = table.ipv4Groups
    if group != .unspecified { groups.removeAll { $0 != group } }
    guard !groups.isEmpty else { return .ignore(.group) }
    guard case .v4(let source)? = own.first(where: { $0.evidence == .proven })?.address else {
      return doubt(.unprovenAddress, nil, now)
    }
    replies.appendIGMPReports(
      groups, version: version, from: source, mac: table.guest,
      tags: header.tags.withoutPriority)
    return .answer(1)
  }

  /// Neighbour discovery and listener discovery; `nil` for other ICMPv6 messages.
  mutating func linkVerdict(
    for message: ICMPMessage, _ packet: IPPacket, _ header: EthernetHeader,
    _ frame: UnsafeRawBufferPointer, _ now: UInt64, _ replies: inout FrameBuffer
  ) throws(FrameError) -> Verdict? {
    if let neighbour = try NeighbourDiscovery(parsing: message, of: packet, in: frame) {
      if packet.destination.isMulticast {
        guard header.destination.isGroup || isForGuest(packet.destination, header) else {
          return .ignore(.group)
        }
      } else if table.index(of: packet.destination) == nil {
        return doubt(.unknownAddress, nil, now)
      }
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
    case .query(let version, let group, let sources):
      guard case .v6(let source) = packet.source, source.isLinkLocal else {
        return .ignore(.malformed)
      }
      guard sources == 0, header.destination.isGroup, table.index(of: packet.source) == nil else {
        return doubt(.unexpectedQuery, nil, now)
      }
      guard !header.tags.isPriorityOnly else { return doubt(.vlan, nil, now) }
      return mldVerdict(version, group, header, now, &replies)
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
      // A member of an address's own group probably has the address.
      return header.destination.isGroup && !table.isMember(of: target.solicitedNode)
        ? .ignore(.otherTarget) : doubt(.unknownAddress, nil, now)
    }
    guard local.evidence == .proven, !packet.hasOptions else {
      return doubt(.unprovenAddress, nil, now)
    }
    guard case .v6(let asker) = packet.source else { return .ignore(.malformed) }
    var flags: NeighbourDiscovery.Flags = local.isRouter ? [.router, .override] : [.override]
    if asker == .unspecified {
      // Somebody wants the address for itself (RFC 4862, 5.4.3).
      replies.appendNeighbourAdvertisement(
        target: target, at: table.guest, flags: flags,
        link: link(answering: header, to: IPv6Address.allNodes.multicastMAC), to: .allNodes)
      return .answer(1)
    }
    guard !asker.isMulticast, !asker.isLoopback else { return .ignore(.malformed) }
    let isAlone = !packet.destination.isMulticast
    // Some guests answer even themselves. Who does not say its MAC is answered only if the guest knows it.
    guard asker.canBeOwned, table.index(of: packet.source) == nil,
      let mac = linkLayer
        ?? (isAlone ? table.way(to: packet.source, heardFrom: header.source) : nil),
      !mac.isGroup, mac != .zero, mac != table.guest
    else { return doubt(.unknownAddress, nil, now) }
    if header.tags.isPriorityOnly { return doubt(.vlan, nil, now) }
    // The guest would know its neighbour from now on.
    if linkLayer != nil, table.isNearGuest(packet.source) {
      table.setWay(to: packet.source, mac)
    }
    flags.insert(.solicited)
    if isAlone, !table.habits.contains(.overrides) { flags.remove(.override) }
    replies.appendNeighbourAdvertisement(
      target: target, at: isAlone && !table.habits.contains(.tellsMAC) ? nil : table.guest,
      flags: flags, link: link(answering: header, to: mac), to: asker)
    return .answer(1)
  }

  private mutating func advertisementVerdict(
    _ target: IPv6Address, _ linkLayer: MACAddress?, _ header: EthernetHeader, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    guard (linkLayer ?? header.source) != table.guest,
      let index = table.index(of: .v6(target)), let local = table.address(at: index),
      local.network == header.tags.network
    else { return .ignore(.neighbour) }
    return doubt(.addressConflict, nil, now)
  }

  private mutating func mldVerdict(
    _ queryVersion: Int?, _ group: IPv6Address, _ header: EthernetHeader, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    let own = table.addresses.filter {
      $0.network == header.tags.network && $0.address.family == 6
    }
    // In another VLAN nobody is asked that is known here.
    guard !own.isEmpty else { return .ignore(.group) }
    guard
      let version = table.mldVersion(afterQueryOf: queryVersion, at: monotonicSeconds(now))
    else { return .ignore(.malformed) }
    var groups = table.ipv6Groups
    if group != .unspecified { groups.removeAll { $0 != group } }
    guard !groups.isEmpty else { return .ignore(.group) }
    let linkLocal = own.first { $0.evidence == .proven && $0.address.staysOnLink }
    guard case .v6(let source)? = linkLocal?.address else {
      return doubt(.unprovenAddress, nil, now)
    }
    replies.appendMLDReports(
      groups, version: version, from: source, mac: table.guest, tags: header.tags.withoutPriority)
    return .answer(1)
  }
}
