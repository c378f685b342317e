/// The flags of a TCP header.
public struct TCPFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) {
    self.rawValue = rawValue
  }

  public static let fin = TCPFlags(rawValue: 0x01)
  public static let syn = TCPFlags(rawValue: 0x02)
  public static let rst = TCPFlags(rawValue: 0x04)
  public static let psh = TCPFlags(rawValue: 0x08)
  public static let ack = TCPFlags(rawValue: 0x10)
  public static let urg = TCPFlags(rawValue: 0x20)
  public static let ece = TCPFlags(rawValue: 0x40)
  public static let cwr = TCPFlags(rawValue: 0x80)
}

/// The timestamps option (RFC 7323).
public struct TCPTimestamps: Hashable, Sendable {
  /// TSval, the sender's clock.
  public var value: UInt32
  /// TSecr, the last clock value that the sender has seen of the receiver.
  public var echo: UInt32

  public init(value: UInt32, echo: UInt32) {
    self.value = value
    self.echo = echo
  }
}

/// A TCP segment (RFC 9293).
public struct TCPSegment: Hashable, Sendable {
  public var sourcePort: UInt16
  public var destinationPort: UInt16
  public var sequence: UInt32
  /// Meaningful only with `TCPFlags.ack`.
  public var acknowledgement: UInt32
  public var flags: TCPFlags
  /// As on the wire, not scaled.
  public var window: UInt16
  /// Bytes of payload.
  public var payloadLength: Int
  public var timestamps: TCPTimestamps?
  /// The shift of the window scale option, which only a SYN carries.
  public var windowScale: UInt8?
  public var permitsSACK: Bool
  /// Whether the segment is signed (RFC 2385, RFC 5925): nobody else can speak for its sender.
  public var isSigned: Bool

  /// The sequence number after this segment: payload, SYN and FIN counted.
  public var end: UInt32 {
    sequence &+ UInt32(truncatingIfNeeded: payloadLength)
      &+ (flags.contains(.syn) ? 1 : 0) &+ (flags.contains(.fin) ? 1 : 0)
  }

  /// - Parameter end: where the packet ends on the wire; `packet` may end earlier, but not before
  ///   the TCP header does.
  /// - Throws: `.truncated`, `.inconsistent`, `.tcpOptions`.
  init(parsing packet: UnsafeRawBufferPointer, at offset: Int, end: Int) throws(FrameError) {
    sourcePort = try packet.bigEndian(offset, as: UInt16.self)
    destinationPort = try packet.bigEndian(offset + 2, as: UInt16.self)
    sequence = try packet.bigEndian(offset + 4, as: UInt32.self)
    acknowledgement = try packet.bigEndian(offset + 8, as: UInt32.self)
    let headerLength = Int(try packet.byte(offset + 12) >> 4) * 4
    flags = TCPFlags(rawValue: try packet.byte(offset + 13))
    window = try packet.bigEndian(offset + 14, as: UInt16.self)
    guard headerLength >= 20, offset + headerLength <= end else {
      throw FrameError(.inconsistent, "a TCP header has an impossible length")
    }
    payloadLength = end - offset - headerLength
    timestamps = nil
    windowScale = nil
    permitsSACK = false
    isSigned = false
    try parseOptions(packet, from: offset + 20, to: offset + headerLength)
  }

  private mutating func parseOptions(
    _ packet: UnsafeRawBufferPointer, from start: Int, to end: Int
  ) throws(FrameError) {
    var offset = start
    while offset < end {
      let kind = try packet.byte(offset)
      if kind == 0 { return }
      if kind == 1 {
        offset += 1
        continue
      }
      guard offset + 1 < end else {
        throw FrameError(.tcpOptions, "a TCP option has no length")
      }
      let length = Int(try packet.byte(offset + 1))
      guard length >= 2, offset + length <= end else {
        throw FrameError(.tcpOptions, "a TCP option has an impossible length")
      }
      switch (kind, length) {
      case (3, 3):
        windowScale = try packet.byte(offset + 2)
      case (4, 2):
        permitsSACK = true
      case (8, 10):
        timestamps = TCPTimestamps(
          value: try packet.bigEndian(offset + 2, as: UInt32.self),
          echo: try packet.bigEndian(offset + 6, as: UInt32.self))
      case (19, _), (29, _):
        isSigned = true
      case (2, 4), (5, _):
        break
      case (2, _), (3, _), (4, _), (8, _):
        throw FrameError(.tcpOptions, "a TCP option has a length that its kind does not have")
      default:
        break
      }
      offset += length
    }
  }
}
