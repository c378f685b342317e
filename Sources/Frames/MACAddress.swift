/// A 48-bit Ethernet address.
public struct MACAddress: Hashable, Sendable, LosslessStringConvertible {
  /// The address as a number; the first byte on the wire is the most significant of the lower 48
  /// bits, the upper 16 bits are zero.
  public let rawValue: UInt64

  /// Takes the lower 48 bits of `rawValue`.
  public init(rawValue: UInt64) {
    self.rawValue = rawValue & 0xffff_ffff_ffff
  }

  /// Reads six pairs of hexadecimal digits, all separated by `:` or all by `-`, as in
  /// `52:54:00:12:34:56`; `nil` for anything else.
  public init?(_ text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count == 17, bytes[2] == UInt8(ascii: ":") || bytes[2] == UInt8(ascii: "-") else {
      return nil
    }
    var value: UInt64 = 0
    for index in bytes.indices {
      if index % 3 == 2 {
        guard bytes[index] == bytes[2] else { return nil }
      } else {
        guard let digit = hexadecimalDigit(bytes[index]) else { return nil }
        value = value << 4 | UInt64(digit)
      }
    }
    rawValue = value
  }

  /// A random address that is individual and locally administered (IEEE 802, second lowest bit
  /// of the first byte), so that it cannot be a manufacturer's.
  public static func randomLocallyAdministered() -> MACAddress {
    var generator = SystemRandomNumberGenerator()
    return randomLocallyAdministered(using: &generator)
  }

  /// As `randomLocallyAdministered()`, from a generator of the caller's.
  public static func randomLocallyAdministered(
    using generator: inout some RandomNumberGenerator
  ) -> MACAddress {
    let random = generator.next() as UInt64
    return MACAddress(rawValue: random & ~(0x01 << 40) | 0x02 << 40)
  }

  public static let broadcast = MACAddress(rawValue: 0xffff_ffff_ffff)
  public static let zero = MACAddress(rawValue: 0)

  /// Whether it addresses a group (broadcast included) rather than one station.
  public var isGroup: Bool { rawValue & (1 << 40) != 0 }
  public var isLocallyAdministered: Bool { rawValue & (2 << 40) != 0 }

  public var description: String {
    var text = ""
    text.reserveCapacity(17)
    for index in 0..<6 {
      if index > 0 { text.append(":") }
      let byte = UInt8(truncatingIfNeeded: rawValue >> UInt64(40 - 8 * index))
      if byte < 16 { text.append("0") }
      text.append(String(byte, radix: 16))
    }
    return text
  }
}

private func hexadecimalDigit(_ character: UInt8) -> UInt8? {
  switch character {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
  default: nil
  }
}
