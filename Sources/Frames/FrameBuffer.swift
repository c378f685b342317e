/// Frames built one behind the other in memory that is used again: after a few rounds of
/// building and `removeAll()` nothing is allocated any more.
public struct FrameBuffer: Sendable {
  private var bytes: [UInt8] = []
  private var ends: [Int] = []

  /// - Parameter reservedBytes: memory taken at once, for frames expected between two removals.
  public init(reservedBytes: Int = 16 * 1024) {
    bytes.reserveCapacity(reservedBytes)
    ends.reserveCapacity(64)
  }

  /// How many frames there are.
  public var count: Int { ends.count }

  /// Forgets all frames and keeps the memory.
  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
  }

  /// Forgets all frames but the first ones.
  public mutating func removeAll(from count: Int) {
    guard count < ends.count else { return }
    bytes.removeSubrange((count == 0 ? 0 : ends[count - 1])...)
    ends.removeSubrange(count...)
  }

  /// Calls `body` with the bytes of one frame, which are valid only until it returns.
  /// - Parameter index: from 0 and less than `count`.
  public func withFrame<Result, Failure: Error>(
    _ index: Int, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let start = index == 0 ? 0 : ends[index - 1]
    return try bytes.span.withUnsafeBytes { all throws(Failure) in
      try body(UnsafeRawBufferPointer(rebasing: all[start..<ends[index]]))
    }
  }

  /// Where the frame that is being built ends so far.
  var position: Int { bytes.count }

  /// Ends the frame that is being built.
  mutating func finishFrame() {
    ends.append(bytes.count)
  }

  mutating func write(_ byte: UInt8) {
    bytes.append(byte)
  }

  mutating func write<Integer: FixedWidthInteger & UnsignedInteger>(_ value: Integer) {
    var shift = Integer.bitWidth - 8
    while shift >= 0 {
      bytes.append(UInt8(truncatingIfNeeded: value >> Integer(shift)))
      shift -= 8
    }
  }

  mutating func write(_ address: MACAddress) {
    write(UInt16(truncatingIfNeeded: address.rawValue >> 32))
    write(UInt32(truncatingIfNeeded: address.rawValue))
  }

  mutating func write(_ address: IPAddress) {
    switch address {
    case .v4(let address):
      write(address.rawValue)
    case .v6(let address):
      write(address.high)
      write(address.low)
    }
  }

  mutating func write(_ source: UnsafeRawBufferPointer) {
    bytes.append(contentsOf: source)
  }

  /// Replaces the two bytes at `position`.
  mutating func overwrite(_ value: UInt16, at position: Int) {
    bytes[position] = UInt8(value >> 8)
    bytes[position + 1] = UInt8(truncatingIfNeeded: value)
  }

  /// The checksum of what was written from `start` on, with `checksum` as what is summed already.
  func checksum(from start: Int, adding checksum: InternetChecksum = InternetChecksum()) -> UInt16 {
    var checksum = checksum
    bytes.span.withUnsafeBytes { all in
      checksum.add(UnsafeRawBufferPointer(rebasing: all[start...]))
    }
    return checksum.value
  }
}
