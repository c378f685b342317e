extension FrameBuffer {
  /// Appends one report per group for a querier of IGMPv1 or IGMPv2 (RFC 2236, 2), or a single
  /// report of all groups for one of IGMPv3 (RFC 3376, 4.2). No groups, no frame.
  /// - Parameter source: `0.0.0.0` if the reporter has no address.
  public mutating func appendIGMPReports(
    _ groups: [IPv4Address], version: Int, from source: IPv4Address, mac: MACAddress,
    tags: VLANTags
  ) {
    guard version >= 3 else {
      for group in groups {
        writeMembershipIP(
          .v4(source), .v4(group), group.multicastMAC, mac, tags, IPProtocol.igmp, length: 8)
        let start = position
        write(UInt16(version == 1 ? 0x1200 : 0x1600))
        write(UInt16(0))
        write(group.rawValue)
        overwrite(checksum(from: start), at: start + 2)
        finishFrame()
      }
      return
    }
    let count = groups.count
    guard !groups.isEmpty else { return }
    let routers = IPv4Address.igmpRouters
    writeMembershipIP(
      .v4(source), .v4(routers), routers.multicastMAC, mac, tags, IPProtocol.igmp,
      length: 8 + 8 * count)
    let start = position
    write(UInt32(0x2200_0000))
    write(UInt32(truncatingIfNeeded: count))
    for group in groups {
      write(UInt32(0x0200_0000))  // the mode is "exclude", with no sources
      write(group.rawValue)
    }
    overwrite(checksum(from: start), at: start + 2)
    finishFrame()
  }

  /// Appends one report per group for a querier of MLDv1 (RFC 2710, 3), or a single report of
  /// all groups for one of MLDv2 (RFC 3810, 5.2). No groups, no frame.
  /// - Parameter source: a link-local address, or `::` if the reporter has none (RFC 3590).
  public mutating func appendMLDReports(
    _ groups: [IPv6Address], version: Int, from source: IPv6Address, mac: MACAddress,
    tags: VLANTags
  ) {
    guard version >= 2 else {
      for group in groups {
        let route = writeMembershipIP(
          .v6(source), .v6(group), group.multicastMAC, mac, tags, IPProtocol.icmpv6, length: 24)
        let start = position
        write(UInt32(131) << 24)
        write(UInt32(0))
        write(IPAddress.v6(group))
        completeTransport(
          from: start, checksumAt: start + 2, route: route, protocolNumber: IPProtocol.icmpv6)
        finishFrame()
      }
      return
    }
    let count = groups.count
    guard !groups.isEmpty else { return }
    let routers = IPv6Address.mldRouters
    let route = writeMembershipIP(
      .v6(source), .v6(routers), routers.multicastMAC, mac, tags, IPProtocol.icmpv6,
      length: 8 + 20 * count)
    let start = position
    write(UInt32(143) << 24)
    write(UInt32(truncatingIfNeeded: count))
    for group in groups {
      write(UInt32(0x0200_0000))
      write(IPAddress.v6(group))
    }
    completeTransport(
      from: start, checksumAt: start + 2, route: route, protocolNumber: IPProtocol.icmpv6)
    finishFrame()
  }

  @discardableResult
  private mutating func writeMembershipIP(
    _ source: IPAddress, _ destination: IPAddress, _ groupMAC: MACAddress, _ mac: MACAddress,
    _ tags: VLANTags, _ protocolNumber: UInt8, length: Int
  ) -> IPRoute {
    // Precedence "internetwork control", as RFC 3376 (4) has it.
    let trafficClass: UInt8 = if case .v4 = source { 0xc0 } else { 0 }
    let route = IPRoute(
      source: source, destination: destination, hopLimit: 1, trafficClass: trafficClass)
    writeIP(
      Link(destination: groupMAC, source: mac, tags: tags), route, protocolNumber: protocolNumber,
      payloadLength: length, routerAlert: true)
    return route
  }
}
