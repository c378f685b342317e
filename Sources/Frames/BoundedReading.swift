extension UnsafeRawBufferPointer {
  /// The big-endian integer at `offset`. The check is made in release builds too: subscripts of
  /// unsafe buffers are checked in debug builds only.
  @inline(__always)
  func bigEndian<Integer: FixedWidthInteger>(
    _ offset: Int, as type: Integer.Type
  ) throws(FrameError) -> Integer {
    guard offset >= 0, offset <= count - MemoryLayout<Integer>.size else {
      throw FrameError(.truncated, "the frame ends before a field does")
    }
    return Integer(bigEndian: loadUnaligned(fromByteOffset: offset, as: Integer.self))
  }

  @inline(__always)
  func byte(_ offset: Int) throws(FrameError) -> UInt8 {
    try bigEndian(offset, as: UInt8.self)
  }

  func macAddress(_ offset: Int) throws(FrameError) -> MACAddress {
    let high = try bigEndian(offset, as: UInt16.self)
    let low = try bigEndian(offset + 2, as: UInt32.self)
    return MACAddress(rawValue: UInt64(high) << 32 | UInt64(low))
  }

  func ipv4Address(_ offset: Int) throws(FrameError) -> IPv4Address {
    IPv4Address(rawValue: try bigEndian(offset, as: UInt32.self))
  }

  func ipv6Address(_ offset: Int) throws(FrameError) -> IPv6Address {
    IPv6Address(
      high: try bigEndian(offset, as: UInt64.self),
      low: try bigEndian(offset + 8, as: UInt64.self))
  }

  /// The same bytes up to `end`, offsets unchanged.
  @inline(__always)
  func limited(to end: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: baseAddress, count: Swift.max(0, Swift.min(end, count)))
  }
}
