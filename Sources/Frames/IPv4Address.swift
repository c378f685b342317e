/// An IPv4 address.
public struct IPv4Address: Hashable, Sendable, CustomStringConvertible {
  /// The address as a number: `10.0.0.1` is `0x0a000001`.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    rawValue = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  /// `0.0.0.0`, the source of one who has no address yet.
  public static let unspecified = IPv4Address(rawValue: 0)
  public static let broadcast = IPv4Address(rawValue: .max)
  /// `224.0.0.1`, where general membership queries go.
  public static let allHosts = IPv4Address(224, 0, 0, 1)
  /// `224.0.0.22`, where IGMPv3 reports go (RFC 3376, 4.2.14).
  public static let igmpRouters = IPv4Address(224, 0, 0, 22)

  public var isMulticast: Bool { rawValue >> 28 == 0xe }
  public var isLoopback: Bool { rawValue >> 24 == 127 }

  /// Whether one machine can have it as its own: not `0.0.0.0/8`, loopback, multicast, reserved
  /// or broadcast.
  public var canBeOwned: Bool {
    rawValue >> 24 != 0 && !isLoopback && rawValue < 0xe000_0000
  }

  /// The Ethernet address of this multicast group (RFC 1112, 6.4).
  public var multicastMAC: MACAddress {
    MACAddress(rawValue: 0x0100_5e00_0000 | UInt64(rawValue & 0x7f_ffff))
  }

  public var description: String {
    "\(rawValue >> 24).\(rawValue >> 16 & 255).\(rawValue >> 8 & 255).\(rawValue & 255)"
  }
}
