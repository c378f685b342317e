/// A TCP segment that the guest has sent.
struct GuestSegment {
  let flags: Int
  let payloadLength: Int
  /// A frame that ends its connection: a RST where the guest expects the next byte (RFC 9293, 3.10.7.4).
  let reset: Bytes

  /// - Returns: nil for a frame that has no whole TCP header.
  init?(in frame: Bytes) {
    let (type, offset) = AnswerKey.network(of: frame)
    let isIPv6 = type == 0x86dd
    guard isIPv6 || type == 0x0800,
      frame.number(offset + (isIPv6 ? 6 : 9), 1) == Above.tcp,
      let first = frame.number(offset, 1), let to = frame.piece(0, 6), let from = frame.piece(6, 6),
      let source = isIPv6 ? frame.piece(offset + 8, 16) : frame.piece(offset + 12, 4),
      let destination = isIPv6 ? frame.piece(offset + 24, 16) : frame.piece(offset + 16, 4)
    else { return nil }
    let start = offset + (isIPv6 ? 40 : (first & 15) * 4)
    guard let total = frame.number(offset + (isIPv6 ? 4 : 2), 2),
      let sourcePort = frame.number(start, 2), let destinationPort = frame.number(start + 2, 2),
      let sequence = frame.number(start + 4, 4), let acknowledgement = frame.number(start + 8, 4),
      let words = frame.number(start + 12, 1), let flags = frame.number(start + 13, 1)
    else { return nil }
    let end = isIPv6 ? start + total : offset + total
    self.flags = flags
    payloadLength = max(0, end - start - (words >> 4) * 4)
    let next =
      UInt32(truncatingIfNeeded: sequence) &+ UInt32(truncatingIfNeeded: payloadLength)
      &+ UInt32((flags & 1) + (flags >> 1 & 1))
    let segment = SegmentForm(
      sourcePort: destinationPort, destinationPort: sourcePort,
      sequence: UInt32(truncatingIfNeeded: acknowledgement), acknowledgement: next, flags: 0x14)
    reset =
      PacketForm(
        to: from, from: to, source: destination, destination: source, next: Above.tcp,
        payload: segment.bytes(destination, source)
      ).bytes
  }
}
