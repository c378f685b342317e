/// An IPv6 address.
public struct IPv6Address: Hashable, Sendable, CustomStringConvertible {
  /// The first eight bytes as a number.
  public let high: UInt64
  /// The last eight bytes as a number.
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// `::`, the source of one who has no address yet.
  public static let unspecified = IPv6Address(high: 0, low: 0)
  /// `ff02::1`.
  public static let allNodes = IPv6Address(high: 0xff02 << 48, low: 1)
  /// `ff02::16`, where MLDv2 reports go (RFC 3810, 5.2.14).
  public static let mldRouters = IPv6Address(high: 0xff02 << 48, low: 0x16)

  public var isMulticast: Bool { high >> 56 == 0xff }
  public var isLoopback: Bool { high == 0 && low == 1 }
  /// Whether it is a group on which neighbours are solicited, `ff02::1:ff00:0/104`.
  public var isSolicitedNode: Bool { high == 0xff02 << 48 && low >> 24 == 0x1ff }
  /// `fe80::/10`.
  public var isLinkLocal: Bool { high >> 54 == 0xfe80 >> 6 }

  /// Whether one machine can have it as its own: not `::`, `::1`, a group, or an IPv4 address in IPv6's
  /// form, which must not be on a link.
  public var canBeOwned: Bool {
    !isMulticast && !(high == 0 && (low <= 1 || low >> 32 == 0xffff))
  }

  /// Whether membership of this group is reported with MLD: all but `ff02::1` and groups of
  /// interface-local or reserved scope (RFC 3810, 6).
  public var isReportedGroup: Bool {
    isMulticast && (high >> 48 & 0xf) > 1 && self != .allNodes
  }

  /// The group on which a neighbour is solicited for this address (RFC 4291, 2.7.1).
  public var solicitedNode: IPv6Address {
    IPv6Address(high: 0xff02 << 48, low: 0x1_ff00_0000 | low & 0xff_ffff)
  }

  /// The Ethernet address of this multicast group (RFC 2464, 7).
  public var multicastMAC: MACAddress {
    MACAddress(rawValue: 0x3333_0000_0000 | low & 0xffff_ffff)
  }

  /// The text form of RFC 5952: lower case, the longest run of zero groups (the first of equals,
  /// at least two) shortened to `::`.
  public var description: String {
    func group(_ index: Int) -> UInt64 {
      (index < 4 ? high : low) >> UInt64(48 - 16 * (index % 4)) & 0xffff
    }
    var bestStart = 8
    var bestLength = 1
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, group(end) == 0 { end += 1 }
      if end - start > bestLength {
        bestStart = start
        bestLength = end - start
      }
      start = end + 1
    }
    var text = ""
    var index = 0
    while index < 8 {
      if index == bestStart {
        text += "::"
        index += bestLength
      } else {
        if index > 0, index != bestStart + bestLength { text += ":" }
        text += String(group(index), radix: 16)
        index += 1
      }
    }
    return text
  }
}
