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

  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}
