/// A TCP segment without payload that restates where its sender stands.
public struct TCPAcknowledgement: Hashable, Sendable {
  public var sourcePort: UInt16
  public var destinationPort: UInt16
  public var sequence: UInt32
  public var acknowledgement: UInt32
  /// As on the wire, not scaled.
  public var window: UInt16
  public var timestamps: TCPTimestamps?
  /// The sequence number of a byte that has come a second time, to be said so (RFC 2883).
  public var duplicate: UInt32?

  public init(
    sourcePort: UInt16, destinationPort: UInt16, sequence: UInt32, acknowledgement: UInt32,
    window: UInt16, timestamps: TCPTimestamps?, duplicate: UInt32? = nil
  ) {
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
    self.sequence = sequence
    self.acknowledgement = acknowledgement
    self.window = window
    self.timestamps = timestamps
    self.duplicate = duplicate
  }
}

extension FrameBuffer {
  /// Appends an ARP packet.
  public mutating func appendARP(_ packet: ARPPacket, link: Link) {
    writeEthernet(link, .arp)
    write(UInt64(0x0001_0800_0604) << 16 | UInt64(packet.operation.rawValue))
    write(packet.senderMAC)
    write(packet.sender.rawValue)
    write(packet.targetMAC)
    write(packet.target.rawValue)
    finishFrame()
  }

  /// Appends the answer to an echo request: its identifier, number and data under new headers.
  /// - Parameters:
  ///   - request: the request as found in `frame`, which must hold it whole.
  ///   - route: from the one who answers to the one who asked.
  public mutating func appendEchoReply(
    to request: ICMPMessage, in frame: UnsafeRawBufferPointer, link: Link, route: IPRoute
  ) {
    let data = UnsafeRawBufferPointer(
      rebasing: frame[request.range.lowerBound + 4..<request.range.upperBound])
    let protocolNumber: UInt8
    let type: UInt8
    switch route.source {
    case .v4: (protocolNumber, type) = (IPProtocol.icmp, ICMPMessage.echoReply)
    case .v6: (protocolNumber, type) = (IPProtocol.icmpv6, ICMPMessage.echoReplyV6)
    }
    writeIP(link, route, protocolNumber: protocolNumber, payloadLength: 4 + data.count)
    let start = position
    write(type)
    write(UInt8(0))
    write(UInt16(0))
    write(data)
    completeICMP(from: start, route: route)
    finishFrame()
  }

  /// Appends a TCP segment with nothing but the ACK flag.
  public mutating func appendTCP(_ segment: TCPAcknowledgement, link: Link, route: IPRoute) {
    let length =
      20 + (segment.timestamps == nil ? 0 : 12) + (segment.duplicate == nil ? 0 : 12)
    writeIP(link, route, protocolNumber: IPProtocol.tcp, payloadLength: length)
    let start = position
    write(segment.sourcePort)
    write(segment.destinationPort)
    write(segment.sequence)
    write(segment.acknowledgement)
    write(UInt8(truncatingIfNeeded: (length / 4) << 4))
    write(TCPFlags.ack.rawValue)
    write(segment.window)
    write(UInt16(0))
    write(UInt16(0))
    if let timestamps = segment.timestamps {
      write(UInt32(0x0101_080a))
      write(timestamps.value)
      write(timestamps.echo)
    }
    if let duplicate = segment.duplicate {
      write(UInt32(0x0101_050a))
      write(duplicate)
      write(duplicate &+ 1)
    }
    completeTransport(
      from: start, checksumAt: start + 16, route: route, protocolNumber: IPProtocol.tcp)
    finishFrame()
  }

  /// Appends a neighbour advertisement, hop limit 255.
  /// - Parameter mac: goes into the target link-layer address option; without it there is none.
  public mutating func appendNeighbourAdvertisement(
    target: IPv6Address, at mac: MACAddress?, flags: NeighbourDiscovery.Flags, link: Link,
    to destination: IPv6Address
  ) {
    let route = IPRoute(source: .v6(target), destination: .v6(destination), hopLimit: 255)
    writeIP(
      link, route, protocolNumber: IPProtocol.icmpv6, payloadLength: mac == nil ? 24 : 32)
    let start = position
    write(UInt16(136 << 8))
    write(UInt16(0))
    write(UInt32(flags.rawValue) << 24)
    write(IPAddress.v6(target))
    if let mac {
      write(UInt16(0x0201))
      write(mac)
    }
    completeTransport(
      from: start, checksumAt: start + 2, route: route, protocolNumber: IPProtocol.icmpv6)
    finishFrame()
  }
}
