/// Where a frame that is built goes on the link.
public struct Link: Hashable, Sendable {
  public var destination: MACAddress
  public var source: MACAddress
  public var tags: VLANTags

  public init(destination: MACAddress, source: MACAddress, tags: VLANTags) {
    self.destination = destination
    self.source = source
    self.tags = tags
  }
}

/// The fields of an IP header that a builder cannot know by itself.
public struct IPRoute: Hashable, Sendable {
  public var source: IPAddress
  /// Of the same family as `source`.
  public var destination: IPAddress
  public var hopLimit: UInt8
  public var trafficClass: UInt8
  /// Of IPv6 only.
  public var flowLabel: UInt32
  /// What an IPv4 packet that routers may divide is identified by; `nil` if they may not.
  public var identification: UInt16?

  public init(
    source: IPAddress, destination: IPAddress, hopLimit: UInt8, trafficClass: UInt8 = 0,
    flowLabel: UInt32 = 0, identification: UInt16? = nil
  ) {
    self.source = source
    self.destination = destination
    self.hopLimit = hopLimit
    self.trafficClass = trafficClass
    self.flowLabel = flowLabel
    self.identification = identification
  }
}

extension FrameBuffer {
  mutating func writeEthernet(_ link: Link, _ etherType: EtherType) {
    write(link.destination)
    write(link.source)
    if let tag = link.tags.outer {
      write(tag.tagProtocol)
      write(tag.control)
    }
    if let tag = link.tags.inner {
      write(tag.tagProtocol)
      write(tag.control)
    }
    write(etherType.rawValue)
  }

  /// Writes the Ethernet and IP headers of a packet with `payloadLength` bytes above IP. With
  /// `routerAlert` the option of RFC 2113 or RFC 2711 is included, which membership reports need. With
  /// `mayBeFragmented` an IPv4 packet lacks the flag that forbids it, as errors do.
  mutating func writeIP(
    _ link: Link, _ route: IPRoute, protocolNumber: UInt8, payloadLength: Int,
    routerAlert: Bool = false, mayBeFragmented: Bool = false
  ) {
    switch route.source {
    case .v4:
      writeEthernet(link, .ipv4)
      let start = position
      write(routerAlert ? 0x46 : 0x45)
      write(route.trafficClass)
      write(UInt16(truncatingIfNeeded: (routerAlert ? 24 : 20) + payloadLength))
      write(route.identification ?? 0)
      write(UInt16(mayBeFragmented || route.identification != nil ? 0 : 0x4000))
      write(route.hopLimit)
      write(protocolNumber)
      let checksumPosition = position
      write(UInt16(0))
      write(route.source)
      write(route.destination)
      if routerAlert { write(UInt32(0x9404_0000)) }
      overwrite(checksum(from: start), at: checksumPosition)
    case .v6:
      writeEthernet(link, .ipv6)
      write(UInt32(6) << 28 | UInt32(route.trafficClass) << 20 | route.flowLabel & 0xf_ffff)
      write(UInt16(truncatingIfNeeded: (routerAlert ? 8 : 0) + payloadLength))
      write(routerAlert ? 0 : protocolNumber)
      write(route.hopLimit)
      write(route.source)
      write(route.destination)
      if routerAlert {
        write(protocolNumber)
        write(UInt8(0))
        write(UInt32(0x0502_0000))  // router alert: multicast listener discovery
        write(UInt16(0x0100))  // PadN of no bytes
      }
    }
  }

  /// Puts in the checksum of a transport packet that covers the pseudo-header.
  mutating func completeTransport(
    from start: Int, checksumAt position: Int, route: IPRoute, protocolNumber: UInt8
  ) {
    var sum = InternetChecksum()
    sum.addPseudoHeader(
      source: route.source, destination: route.destination, protocolNumber: protocolNumber,
      length: self.position - start)
    overwrite(checksum(from: start, adding: sum), at: position)
  }

  /// Puts in the checksum of an ICMP message, which covers the pseudo-header with IPv6 only.
  mutating func completeICMP(from start: Int, route: IPRoute) {
    switch route.source {
    case .v4: overwrite(checksum(from: start), at: start + 2)
    case .v6:
      completeTransport(
        from: start, checksumAt: start + 2, route: route, protocolNumber: IPProtocol.icmpv6)
    }
  }
}
