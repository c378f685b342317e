public import Frames

/// What a frame belongs to, for people to read.
public struct FlowDescription: Hashable, Sendable, CustomStringConvertible {
  public var protocolNumber: UInt8
  public var source: IPAddress
  public var destination: IPAddress
  /// Ports, where the protocol has them and the frame shows them.
  public var ports: Ports?

  public struct Ports: Hashable, Sendable {
    public var source: UInt16
    public var destination: UInt16

    public init(source: UInt16, destination: UInt16) {
      self.source = source
      self.destination = destination
    }
  }

  /// Describes a packet as it was sent.
  init(_ packet: IPPacket) {
    protocolNumber = packet.protocolNumber
    source = packet.source
    destination = packet.destination
    switch packet.transport {
    case .tcp(let segment):
      ports = Ports(source: segment.sourcePort, destination: segment.destinationPort)
    case .udp(let datagram):
      ports = Ports(source: datagram.sourcePort, destination: datagram.destinationPort)
    case .icmp, .icmpv6, .igmp, .fragment, .other:
      ports = nil
    }
  }

  /// Describes a TCP connection from the guest's side.
  init(_ key: FlowKey, local: IPAddress) {
    protocolNumber = IPProtocol.tcp
    source = local
    destination = key.remote
    ports = Ports(source: key.localPort, destination: key.remotePort)
  }

  /// As in `tcp 10.0.0.7:51234 > 10.0.0.2:22` or `udp [fd00::7]:53 > [fd00::2]:40000`.
  public var description: String {
    let name =
      switch protocolNumber {
      case IPProtocol.icmp: "icmp"
      case IPProtocol.igmp: "igmp"
      case IPProtocol.tcp: "tcp"
      case IPProtocol.udp: "udp"
      case IPProtocol.icmpv6: "icmpv6"
      default: "protocol-\(protocolNumber)"
      }
    let from = Self.text(source, ports?.source)
    let to = Self.text(destination, ports?.destination)
    return "\(name) \(from) > \(to)"
  }

  private static func text(_ address: IPAddress, _ port: UInt16?) -> String {
    guard let port else { return address.description }
    return switch address {
    case .v4(let address): "\(address):\(port)"
    case .v6(let address): "[\(address)]:\(port)"
    }
  }
}
