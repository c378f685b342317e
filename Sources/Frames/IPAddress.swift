/// An address of either family.
public enum IPAddress: Hashable, Sendable, CustomStringConvertible {
  case v4(IPv4Address)
  case v6(IPv6Address)

  public var isMulticast: Bool {
    switch self {
    case .v4(let address): address.isMulticast
    case .v6(let address): address.isMulticast
    }
  }

  /// Whether one machine can have it as its own.
  public var canBeOwned: Bool {
    switch self {
    case .v4(let address): address.canBeOwned
    case .v6(let address): address.canBeOwned
    }
  }

  /// Whether no router forwards packets from it: `fe80::/10` (RFC 4291, 2.5.6). Not IPv4's `169.254/16`,
  /// which Linux forwards.
  public var staysOnLink: Bool {
    switch self {
    case .v4: false
    case .v6(let address): address.isLinkLocal
    }
  }

  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}
