/// A link-layer address of six bytes, as Ethernet's.
public struct HardwareAddress: Hashable, Sendable, CustomStringConvertible {
  /// The address as a number: the first byte on the wire is the most significant of 48 bits.
  public let rawValue: UInt64

  /// nil unless there are exactly six bytes.
  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 6 else { return nil }
    rawValue = bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Six pairs of hexadecimal digits between colons, as `52:54:00:12:34:56`.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let bytes = parts.compactMap { part in
      part.utf8.count == 2 && part.allSatisfy(\.isHexDigit) ? UInt8(part, radix: 16) : nil
    }
    guard bytes.count == parts.count else { return nil }
    self.init(bytes: bytes)
  }

  /// The six bytes in the order of the wire.
  public var bytes: [UInt8] {
    (0..<6).map { UInt8(truncatingIfNeeded: rawValue >> (40 - 8 * UInt64($0))) }
  }

  /// Lower-case hexadecimal pairs between colons.
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
