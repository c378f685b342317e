/// The header of a UDP datagram (RFC 768).
public struct UDPDatagram: Hashable, Sendable {
  public var sourcePort: UInt16
  public var destinationPort: UInt16
  /// Header and payload, in bytes.
  public var length: Int

  /// - Throws: `.truncated`, `.inconsistent`.
  init(parsing packet: UnsafeRawBufferPointer, at offset: Int, end: Int) throws(FrameError) {
    sourcePort = try packet.bigEndian(offset, as: UInt16.self)
    destinationPort = try packet.bigEndian(offset + 2, as: UInt16.self)
    length = Int(try packet.bigEndian(offset + 4, as: UInt16.self))
    guard length >= 8, offset + length <= end else {
      throw FrameError(.inconsistent, "a UDP datagram has an impossible length")
    }
  }
}
