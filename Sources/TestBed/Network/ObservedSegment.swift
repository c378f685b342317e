/// The addresses and ports of one direction of a TCP connection.
public struct ObservedFlow: Hashable, Sendable {
  /// Address and port, as on the wire.
  public var source: [UInt8]
  public var destination: [UInt8]

  /// The other direction.
  public var reversed: ObservedFlow { ObservedFlow(source: destination, destination: source) }

  /// The port that segments of this direction go to.
  public var destinationPort: UInt16 {
    UInt16(destination[destination.count - 2]) << 8 | UInt16(destination[destination.count - 1])
  }
}

/// A TCP segment (RFC 9293, 3.1) as an observer of the network sees it. Deliberately not read by the
/// product's parser, whose work it checks.
public struct ObservedSegment: Hashable, Sendable, CustomStringConvertible {
  public let flow: ObservedFlow
  public let sequence: UInt32
  public let acknowledgement: UInt32
  /// As on the wire, from FIN in the lowest bit on.
  public let flags: UInt8
  /// As on the wire, without its scale.
  public let window: UInt16
  /// TSval (RFC 7323), nil without the option.
  public let timestamp: UInt32?
  public let payloadLength: Int
  /// Whether the checksum is the right one; nil for a segment that was not captured whole.
  public let isChecksumRight: Bool?

  public var isFinish: Bool { flags & 0x01 != 0 }
  public var isSynchronize: Bool { flags & 0x02 != 0 }
  public var isReset: Bool { flags & 0x04 != 0 }
  public var hasAcknowledgement: Bool { flags & 0x10 != 0 }
  /// ACK, and none of SYN, FIN and RST.
  var isPlain: Bool { flags & 0x17 == 0x10 }

  public var description: String {
    "to port \(flow.destinationPort), flags \(flags), SEQ \(sequence), ACK \(acknowledgement), "
      + "window \(window), \(payloadLength) bytes"
  }

  /// The sequence number after the segment's last byte; SYN and FIN count as one.
  public var end: UInt32 {
    sequence &+ UInt32(truncatingIfNeeded: payloadLength) &+ (isSynchronize ? 1 : 0)
      &+ (isFinish ? 1 : 0)
  }

  /// - Parameter frame: an Ethernet frame or its beginning; nil comes of one that has no TCP header.
  public init?(_ frame: ArraySlice<UInt8>) {
    let bytes = Array(frame)
    guard bytes.count >= 14 else { return nil }
    let tcp: Int
    let addresses: (source: Range<Int>, destination: Range<Int>)
    let segmentLength: Int
    switch (bytes[12], bytes[13]) {
    case (0x08, 0x00):
      guard bytes.count >= 34, bytes[23] == 6 else { return nil }
      let headerLength = Int(bytes[14] & 0x0f) * 4
      tcp = 14 + headerLength
      addresses = (26..<30, 30..<34)
      segmentLength = (Int(bytes[16]) << 8 | Int(bytes[17])) - headerLength
    case (0x86, 0xdd):
      guard bytes.count >= 54, bytes[20] == 6 else { return nil }
      tcp = 54
      addresses = (22..<38, 38..<54)
      segmentLength = Int(bytes[18]) << 8 | Int(bytes[19])
    default: return nil
    }
    guard bytes.count >= tcp + 20 else { return nil }
    func number(at offset: Int) -> UInt32 {
      var value: UInt32 = 0
      for byte in bytes[tcp + offset..<tcp + offset + 4] { value = value << 8 | UInt32(byte) }
      return value
    }
    flow = ObservedFlow(
      source: Array(bytes[addresses.source]) + Array(bytes[tcp..<(tcp + 2)]),
      destination: Array(bytes[addresses.destination]) + Array(bytes[(tcp + 2)..<(tcp + 4)]))
    sequence = number(at: 4)
    acknowledgement = number(at: 8)
    flags = bytes[tcp + 13]
    window = UInt16(bytes[tcp + 14]) << 8 | UInt16(bytes[tcp + 15])
    let headerLength = Int(bytes[tcp + 12] >> 4) * 4
    payloadLength = segmentLength - headerLength
    timestamp = Self.timestamp(bytes.dropFirst(tcp + 20).prefix(max(headerLength - 20, 0)))
    if segmentLength >= 20, bytes.count >= tcp + segmentLength {
      let pseudoHeader =
        bytes[addresses.source] + bytes[addresses.destination]
        + [0, 6, UInt8(segmentLength >> 8), UInt8(segmentLength & 0xff)]
      isChecksumRight =
        Self.sum(Array(pseudoHeader) + bytes[tcp..<(tcp + segmentLength)]) == 0xffff
    } else {
      isChecksumRight = nil
    }
  }

  private static func timestamp(_ options: ArraySlice<UInt8>) -> UInt32? {
    var rest = options
    while let kind = rest.first, kind != 0 {
      if kind == 1 {
        rest = rest.dropFirst()
        continue
      }
      guard let length = rest.dropFirst().first, length >= 2, rest.count >= length else {
        return nil
      }
      if kind == 8, length == 10 {
        return rest.dropFirst(2).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
      }
      rest = rest.dropFirst(Int(length))
    }
    return nil
  }

  /// The one's complement sum (RFC 1071).
  private static func sum(_ bytes: [UInt8]) -> UInt32 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
    }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    return sum
  }
}
