/// The ports of a guest that somebody in it uses, as its agent has told just before it was paused.
public struct UsedPorts: Codable, Hashable, Sendable {
  /// How far the list alone shows that a port is closed.
  public enum Trust: UInt8, Codable, Hashable, Sendable {
    /// Not at all: the guest must have refused the same peer at the same port, too. Its firewall may drop
    /// what the list suggests it would refuse.
    case exact = 1
    /// As soon as the guest has refused anybody anything in the same family.
    case list = 2
  }

  public let trust: Trust
  /// Local ports of TCP sockets of both families, whatever their state.
  public let tcp: [UInt16]
  /// Likewise of UDP.
  public let udp: [UInt16]

  /// The most ports of each protocol; a guest that uses more is not asked to be answered for.
  public static let limit = 4096

  public init(trust: Trust, tcp: [UInt16], udp: [UInt16]) {
    self.trust = trust
    self.tcp = tcp
    self.udp = udp
  }
}

/// A protocol that has ports.
package enum PortProtocol: UInt8 {
  case tcp = 1
  case udp = 2
}
