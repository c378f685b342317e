/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) message; the two share this form and no numbers.
public struct ICMPMessage: Hashable, Sendable {
  public var type: UInt8
  public var code: UInt8
  /// Where in the frame the message lies, from its type on. The end is that of the packet, which
  /// may lie behind what was captured.
  public var range: Range<Int>

  public static let echoReply: UInt8 = 0
  public static let destinationUnreachable: UInt8 = 3
  public static let echoRequest: UInt8 = 8

  public static let timestampRequest: UInt8 = 13

  public static let echoRequestV6: UInt8 = 128
  public static let echoReplyV6: UInt8 = 129
  public static let destinationUnreachableV6: UInt8 = 1
  public static let neighbourAdvertisement: UInt8 = 136

  /// - Throws: `.truncated`.
  init(parsing packet: UnsafeRawBufferPointer, at offset: Int, end: Int) throws(FrameError) {
    type = try packet.byte(offset)
    code = try packet.byte(offset + 1)
    guard offset + 8 <= end else {
      throw FrameError(.truncated, "an ICMP message is shorter than its header")
    }
    range = offset..<end
  }

  /// The port of the guest's that this message, sent by the guest, says nobody listens on: for
  /// "port unreachable" about a UDP datagram of the same family; `nil` for every other message.
  public func unreachableUDPPort(
    in frame: UnsafeRawBufferPointer, isIPv6: Bool
  ) -> UInt16? {
    let unreachable =
      isIPv6
      ? type == Self.destinationUnreachableV6 && code == 4
      : type == Self.destinationUnreachable && code == 3
    guard unreachable else { return nil }
    let message = frame.limited(to: range.upperBound)
    let inner = range.lowerBound + 8
    do throws(FrameError) {
      let first = try message.byte(inner)
      let transport: Int
      if isIPv6 {
        guard first >> 4 == 6, try message.byte(inner + 6) == IPProtocol.udp else { return nil }
        transport = inner + 40
      } else {
        let headerLength = Int(first & 15) * 4
        guard first >> 4 == 4, headerLength >= 20,
          try message.byte(inner + 9) == IPProtocol.udp,
          try message.bigEndian(inner + 6, as: UInt16.self) & 0x1fff == 0
        else { return nil }
        transport = inner + headerLength
      }
      return try message.bigEndian(transport + 2, as: UInt16.self)
    } catch {
      return nil
    }
  }
}
