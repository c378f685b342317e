/// Comparison modulo 2^32 (RFC 9293, 3.4; RFC 7323, 5.2).
extension UInt32 {
  /// Whether `self` comes after `other` in sequence space.
  func isAfter(_ other: UInt32) -> Bool {
    Int32(bitPattern: self &- other) > 0
  }

  func isBefore(_ other: UInt32) -> Bool {
    Int32(bitPattern: self &- other) < 0
  }
}

/// Where a segment lies relative to the byte that its receiver expects next.
enum SegmentPosition {
  /// A keepalive or zero-window probe: one byte below what is expected, or none at all there.
  case probe
  /// No payload, exactly at what is expected: an acknowledgement that asks for nothing.
  case edge
  /// Payload of which at least one byte is at or beyond what is expected.
  case fresh
  /// Nothing that was not received already, and no probe.
  case old
  /// No payload, beyond what is expected: something in between is missing.
  case ahead

  /// - Parameter expected: the last ACK that the receiver sent.
  init(sequence: UInt32, payloadLength: Int, expected: UInt32) {
    let end = sequence &+ UInt32(truncatingIfNeeded: payloadLength)
    if payloadLength <= 1, sequence == expected &- 1 {
      self = .probe
    } else if payloadLength == 0 {
      self = sequence == expected ? .edge : sequence.isAfter(expected) ? .ahead : .old
    } else {
      self = end.isAfter(expected) ? .fresh : .old
    }
  }
}
