/// The header of a UDP datagram (RFC 768).
public struct UDPDatagram: Hashable, Sendable {
  public var sourcePort: UInt16
  public var destinationPort: UInt16
  /// Header and payload, in bytes.
  public var length: Int
  /// Whether its sender has computed a checksum. Over IPv6 most receivers drop it otherwise (RFC 6936).
  public var hasChecksum: Bool

  /// - Throws: `.truncated`, `.inconsistent`.
  init(
    parsing packet: UnsafeRawBufferPointer, at offset: Int, end: Int, isIPv6: Bool
  ) throws(FrameError) {
    sourcePort = try packet.bigEndian(offset, as: UInt16.self)
    destinationPort = try packet.bigEndian(offset + 2, as: UInt16.self)
    length = Int(try packet.bigEndian(offset + 4, as: UInt16.self))
    // Over IPv6 it may mean that the datagram takes the whole packet (RFC 2675, 4).
    if length == 0, isIPv6 { length = end - offset }
    hasChecksum = try packet.bigEndian(offset + 6, as: UInt16.self) != 0
    guard length >= 8, offset + length <= end else {
      throw FrameError(.inconsistent, "a UDP datagram has an impossible length")
    }
  }
}
