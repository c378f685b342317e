/// What a host answers for a port that nobody listens on.
extension FrameBuffer {
  /// Appends the RST for a segment without ACK (RFC 9293, 3.5.2): sequence number 0, and everything that
  /// the segment occupies acknowledged.
  public mutating func appendReset(refusing segment: TCPSegment, link: Link, route: IPRoute) {
    writeIP(link, route, protocolNumber: IPProtocol.tcp, payloadLength: 20)
    let start = position
    write(segment.destinationPort)
    write(segment.sourcePort)
    write(UInt32(0))
    write(segment.end)
    write(UInt8(5 << 4))
    write(TCPFlags([.rst, .ack]).rawValue)
    write(UInt16(0))
    write(UInt16(0))
    write(UInt16(0))
    completeTransport(
      from: start, checksumAt: start + 16, route: route, protocolNumber: IPProtocol.tcp)
    finishFrame()
  }

  /// Appends the ICMP or ICMPv6 message "port unreachable" about a packet, which it quotes as far as fits
  /// into 576 bytes (RFC 1812, 4.3.2.3) or 1280 (RFC 4443, 3.1).
  /// - Parameters:
  ///   - offset: where the packet begins in `frame`, which must hold it whole.
  ///   - route: from the one who answers to the packet's source.
  public mutating func appendPortUnreachable(
    quoting packet: IPPacket, at offset: Int, of frame: UnsafeRawBufferPointer, link: Link,
    route: IPRoute
  ) {
    var route = route
    let limit: Int
    let kind: (type: UInt8, code: UInt8, protocolNumber: UInt8)
    switch route.source {
    case .v4:
      limit = 576 - 20 - 8
      kind = (ICMPMessage.destinationUnreachable, 3, IPProtocol.icmp)
      // Internetwork control (RFC 1812, 4.3.2.5).
      route.trafficClass = packet.trafficClass & 0x1e | 0xc0
    case .v6:
      limit = 1280 - 40 - 8
      kind = (ICMPMessage.destinationUnreachableV6, 4, IPProtocol.icmpv6)
    }
    let end = min(offset + min(packet.totalLength, limit), frame.count)
    let quote = UnsafeRawBufferPointer(rebasing: frame[offset..<end])
    writeIP(
      link, route, protocolNumber: kind.protocolNumber, payloadLength: 8 + quote.count,
      mayBeFragmented: true)
    let start = position
    write(kind.type)
    write(kind.code)
    write(UInt16(0))
    write(UInt32(0))
    write(quote)
    completeICMP(from: start, route: route)
    finishFrame()
  }
}
