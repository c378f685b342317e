/// Protocol numbers that are understood here (IANA, "Assigned Internet Protocol Numbers").
public enum IPProtocol {
  public static let icmp: UInt8 = 1
  public static let igmp: UInt8 = 2
  public static let tcp: UInt8 = 6
  public static let udp: UInt8 = 17
  public static let icmpv6: UInt8 = 58
}

/// Whether a frame is believed or checked.
public enum ChecksumPolicy: Sendable {
  /// Every checksum must be right, and the frame must be whole.
  case verify
  /// Checksums are not looked at: a packet socket shows frames of a local sender whose checksum
  /// the device was to complete. The frame may be cut after its headers.
  case trust
}

/// An IPv4 or IPv6 packet.
public struct IPPacket: Hashable, Sendable {
  public var source: IPAddress
  public var destination: IPAddress
  /// TTL or hop limit.
  public var hopLimit: UInt8
  /// Type of service or traffic class, congestion bits included.
  public var trafficClass: UInt8
  /// The IPv6 flow label; 0 in IPv4.
  public var flowLabel: UInt32
  /// Whether routers may not divide it; always so in IPv6.
  public var mayNotBeFragmented: Bool
  /// The protocol above IP and above the extension headers.
  public var protocolNumber: UInt8
  /// Whether it is part of a packet (IPv6 atomic fragments included).
  public var isFragment: Bool
  /// Whether there are IPv4 options, or IPv6 extension headers other than a fragment header.
  public var hasOptions: Bool
  /// Whether there is a hop-by-hop header with the router alert option for listener discovery
  /// (RFC 2711).
  public var hasRouterAlert: Bool
  /// Length of the packet from its IP header on, in bytes.
  public var totalLength: Int
  public var transport: Transport
}

/// What an IP packet carries.
public enum Transport: Hashable, Sendable {
  case tcp(TCPSegment)
  case udp(UDPDatagram)
  case icmp(ICMPMessage)
  case icmpv6(ICMPMessage)
  case igmp(IGMPMessage)
  /// A fragment; whatever it is part of is not looked at.
  case fragment
  case other
}

/// The most IPv6 extension headers that are followed in one packet.
let extensionHeaderLimit = 8

extension IPPacket {
  /// Reads an IPv4 packet (RFC 791) at `offset`. Padding behind it is not part of it.
  /// - Parameter readsTransport: otherwise `transport` is `.other`, whatever there is.
  init(
    parsingIPv4 frame: UnsafeRawBufferPointer, at offset: Int, wireLength: Int,
    checksums: ChecksumPolicy, readsTransport: Bool = true
  ) throws(FrameError) {
    let first = try frame.byte(offset)
    guard first >> 4 == 4 else {
      throw FrameError(.inconsistent, "an IPv4 packet of another version")
    }
    let headerLength = Int(first & 15) * 4
    totalLength = Int(try frame.bigEndian(offset + 2, as: UInt16.self))
    guard headerLength >= 20, totalLength >= headerLength else {
      throw FrameError(.inconsistent, "the lengths of an IPv4 header contradict each other")
    }
    guard offset + totalLength <= wireLength, offset + headerLength <= frame.count else {
      throw FrameError(.truncated, "an IPv4 packet is longer than its frame")
    }
    let end = offset + totalLength
    if checksums == .verify {
      guard end <= frame.count else {
        throw FrameError(.truncated, "an IPv4 packet is longer than what was captured")
      }
      var checksum = InternetChecksum()
      checksum.add(UnsafeRawBufferPointer(rebasing: frame[offset..<offset + headerLength]))
      guard checksum.value == 0 else {
        throw FrameError(.checksum, "the checksum of an IPv4 header is wrong")
      }
    }
    try checkIPv4Options(frame, from: offset + 20, to: offset + headerLength)
    trafficClass = try frame.byte(offset + 1)
    flowLabel = 0
    hasRouterAlert = false
    let fragment = try frame.bigEndian(offset + 6, as: UInt16.self)
    isFragment = fragment & 0x3fff != 0
    mayNotBeFragmented = fragment & 0x4000 != 0
    hopLimit = try frame.byte(offset + 8)
    protocolNumber = try frame.byte(offset + 9)
    source = .v4(try frame.ipv4Address(offset + 12))
    destination = .v4(try frame.ipv4Address(offset + 16))
    hasOptions = headerLength > 20
    transport = isFragment ? .fragment : .other
    if !isFragment, readsTransport {
      transport = try parseTransport(
        frame.limited(to: end), at: offset + headerLength, end: end, checksums: checksums)
    }
  }

  /// Reads an IPv6 packet (RFC 8200) at `offset`, through its extension headers.
  /// - Parameter readsTransport: otherwise `transport` is `.other`, whatever there is.
  init(
    parsingIPv6 frame: UnsafeRawBufferPointer, at offset: Int, wireLength: Int,
    checksums: ChecksumPolicy, readsTransport: Bool = true
  ) throws(FrameError) {
    let first = try frame.bigEndian(offset, as: UInt32.self)
    guard first >> 28 == 6 else {
      throw FrameError(.inconsistent, "an IPv6 packet of another version")
    }
    trafficClass = UInt8(truncatingIfNeeded: first >> 20)
    flowLabel = first & 0xf_ffff
    mayNotBeFragmented = true
    hasRouterAlert = false
    totalLength = 40 + Int(try frame.bigEndian(offset + 4, as: UInt16.self))
    let end = offset + totalLength
    guard end <= wireLength, checksums == .trust || end <= frame.count else {
      throw FrameError(.truncated, "an IPv6 packet is longer than its frame")
    }
    hopLimit = try frame.byte(offset + 7)
    source = .v6(try frame.ipv6Address(offset + 8))
    destination = .v6(try frame.ipv6Address(offset + 24))
    protocolNumber = try frame.byte(offset + 6)
    isFragment = false
    hasOptions = false
    transport = .fragment

    let packet = frame.limited(to: end)
    var cursor = offset + 40
    var headers = 0
    walk: while true {
      let length: Int
      switch protocolNumber {
      case 0, 43, 60:  // hop-by-hop, routing, destination
        length = (Int(try packet.byte(cursor + 1)) + 1) * 8
      case 51, 135, 139, 140:  // authentication, counted in 32-bit words; mobility, HIP, Shim6
        guard cursor + 1 < min(end, packet.count) else { break walk }
        let units = Int(try packet.byte(cursor + 1))
        length = protocolNumber == 51 ? (units + 2) * 4 : (units + 1) * 8
        // Who does not know the protocol does not look at its lengths, and says so to the sender.
        guard cursor + length <= end else { break walk }
      case 44:
        isFragment = true
        protocolNumber = try packet.byte(cursor)
        return
      default:
        break walk
      }
      headers += 1
      guard headers <= extensionHeaderLimit else {
        throw FrameError(.extensionHeaders, "too many IPv6 extension headers")
      }
      guard cursor + length <= end else {
        throw FrameError(.truncated, "an IPv6 extension header is longer than its packet")
      }
      hasOptions = true
      if protocolNumber == 0 {
        hasRouterAlert = try findRouterAlert(packet, from: cursor + 2, to: cursor + length)
      }
      protocolNumber = try packet.byte(cursor)
      cursor += length
    }
    transport =
      readsTransport
      ? try parseTransport(packet, at: cursor, end: end, checksums: checksums) : .other
  }

  private func parseTransport(
    _ packet: UnsafeRawBufferPointer, at offset: Int, end: Int, checksums: ChecksumPolicy
  ) throws(FrameError) -> Transport {
    switch (source, protocolNumber) {
    case (_, IPProtocol.tcp):
      try verify(packet, offset..<end, pseudoHeader: true, checksums)
      return .tcp(try TCPSegment(parsing: packet, at: offset, end: end))
    case (_, IPProtocol.udp):
      let isIPv6 = if case .v6 = source { true } else { false }
      let datagram = try UDPDatagram(parsing: packet, at: offset, end: end, isIPv6: isIPv6)
      if datagram.hasChecksum {
        try verify(packet, offset..<offset + datagram.length, pseudoHeader: true, checksums)
      }
      return .udp(datagram)
    case (.v4, IPProtocol.icmp):
      try verify(packet, offset..<end, pseudoHeader: false, checksums)
      return .icmp(try ICMPMessage(parsing: packet, at: offset, end: end))
    case (.v6, IPProtocol.icmpv6):
      try verify(packet, offset..<end, pseudoHeader: true, checksums)
      return .icmpv6(try ICMPMessage(parsing: packet, at: offset, end: end))
    case (.v4, IPProtocol.igmp):
      try verify(packet, offset..<end, pseudoHeader: false, checksums)
      return .igmp(try IGMPMessage(parsing: packet, at: offset, end: end))
    default:
      return .other
    }
  }

  private func verify(
    _ packet: UnsafeRawBufferPointer, _ range: Range<Int>, pseudoHeader: Bool,
    _ policy: ChecksumPolicy
  ) throws(FrameError) {
    guard policy == .verify else { return }
    guard range.upperBound <= packet.count else {
      throw FrameError(.truncated, "a transport packet is longer than what was captured")
    }
    var checksum = InternetChecksum()
    checksum.add(UnsafeRawBufferPointer(rebasing: packet[range]))
    if pseudoHeader {
      checksum.addPseudoHeader(
        source: source, destination: destination, protocolNumber: protocolNumber,
        length: range.count)
    }
    guard checksum.value == 0 else {
      throw FrameError(.checksum, "the checksum of a transport packet is wrong")
    }
  }
}

/// Whether the options of a hop-by-hop header have the router alert of listener discovery, value 0.
/// What is behind a damaged option does not count.
private func findRouterAlert(
  _ packet: UnsafeRawBufferPointer, from start: Int, to end: Int
) throws(FrameError) -> Bool {
  var offset = start
  while offset < end {
    let type = try packet.byte(offset)
    guard type != 0 else {
      offset += 1
      continue
    }
    guard offset + 1 < end else { return false }
    let length = Int(try packet.byte(offset + 1))
    guard offset + 2 + length <= end else { return false }
    if type == 5, length == 2 { return try packet.bigEndian(offset + 2, as: UInt16.self) == 0 }
    offset += 2 + length
  }
  return false
}

/// Follows the lengths of IPv4 options (RFC 791, 3.1).
private func checkIPv4Options(
  _ frame: UnsafeRawBufferPointer, from start: Int, to end: Int
) throws(FrameError) {
  var offset = start
  while offset < end {
    switch try frame.byte(offset) {
    case 0:
      return
    case 1:
      offset += 1
    default:
      guard offset + 1 < end else {
        throw FrameError(.options, "an IPv4 option has no length")
      }
      let length = Int(try frame.byte(offset + 1))
      guard length >= 2, offset + length <= end else {
        throw FrameError(.options, "an IPv4 option has an impossible length")
      }
      offset += length
    }
  }
}
