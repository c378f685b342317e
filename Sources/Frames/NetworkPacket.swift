/// What an Ethernet frame carries.
public enum NetworkPacket: Hashable, Sendable {
  case arp(ARPPacket)
  case ip(IPPacket)
  case other

  /// Reads what follows `header` in `frame`. Everything is a copy or an offset: the result stays
  /// valid when the frame's memory is used again.
  /// - Parameters:
  ///   - frame: what was captured of the frame, from the destination's address on.
  ///   - wireLength: how long the frame was on the wire, if more than was captured; only useful
  ///     with `.trust`.
  /// - Throws: for a frame that its receiver would drop; see `FrameError.Code.tcpOptions` for
  ///   the one exception.
  public init(
    parsing frame: UnsafeRawBufferPointer, after header: EthernetHeader, wireLength: Int? = nil,
    checksums: ChecksumPolicy = .verify
  ) throws(FrameError) {
    let length = max(wireLength ?? frame.count, frame.count)
    switch header.etherType {
    case .arp:
      self = .arp(try ARPPacket(parsing: frame, at: header.payloadOffset))
    case .ipv4:
      self = .ip(
        try IPPacket(
          parsingIPv4: frame, at: header.payloadOffset, wireLength: length, checksums: checksums))
    case .ipv6:
      self = .ip(
        try IPPacket(
          parsingIPv6: frame, at: header.payloadOffset, wireLength: length, checksums: checksums))
    default:
      self = .other
    }
  }

  /// Reads an IP packet's headers only: what there is to know of a packet whose transport is damaged.
  /// - Returns: `nil` for what has no sound IP header.
  public static func headers(
    of frame: UnsafeRawBufferPointer, after header: EthernetHeader
  ) -> IPPacket? {
    switch header.etherType {
    case .ipv4:
      try? IPPacket(
        parsingIPv4: frame, at: header.payloadOffset, wireLength: frame.count, checksums: .verify,
        readsTransport: false)
    case .ipv6:
      try? IPPacket(
        parsingIPv6: frame, at: header.payloadOffset, wireLength: frame.count, checksums: .verify,
        readsTransport: false)
    default: nil
    }
  }
}
