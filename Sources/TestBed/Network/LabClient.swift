import LinuxNetwork
import LinuxSystem

/// TCP keepalives (tcp(7)).
public struct Keepalive: Sendable, Hashable {
  /// Seconds of silence before the first probe.
  public var idleSeconds: Int
  /// Seconds between probes.
  public var intervalSeconds: Int
  /// Unanswered probes after which the connection is given up.
  public var probes: Int

  public init(idleSeconds: Int = 1, intervalSeconds: Int = 1, probes: Int = 3) {
    self.idleSeconds = idleSeconds
    self.intervalSeconds = intervalSeconds
    self.probes = probes
  }
}

/// A machine at the bridge that uses the guests' services: a network namespace with an interface
/// `eth0`.
public final class LabClient: Sendable {
  public let namespace: Namespace
  public let addresses: LabAddresses

  init(
    network: LabNetwork, bridge: String, addresses: LabAddresses, index: Int
  ) async throws {
    self.addresses = addresses
    namespace = try await Namespace(named: "client\(network.number)-\(index)")
    let port = "client\(index)"
    let descriptor = namespace.descriptor
    try await network.host.perform {
      try RouteNetlink().createVethPair(named: port, peer: "eth0", peerNamespace: descriptor)
    }
    try await network.attach(port, to: bridge)
    try await setUp()
  }

  /// With a wire whose frames can be seen and lost.
  init(
    network: LabNetwork, addresses: LabAddresses, index: Int, onWire: (Wire) -> Void
  ) async throws {
    self.addresses = addresses
    namespace = try await Namespace(named: "client\(network.number)-\(index)")
    let port = "client\(index)"
    onWire(
      Wire(
        client: try await namespace.perform { try Tap.open(named: "eth0") },
        network: try await network.host.perform { try Tap.open(named: port) }))
    try await network.attach(port)
    try await setUp()
  }

  private func setUp() async throws {
    let addresses = addresses
    try await namespace.perform {
      let netlink = try RouteNetlink()
      let interface = try netlink.index(of: "eth0")
      try netlink.addAddress(interface, addresses.ipv4WithPrefix)
      try netlink.addAddress(interface, addresses.ipv6WithPrefix)
      try netlink.setUp(interface, up: true)
    }
  }

  /// Sets the keepalives of connections that ask for them without saying how, as ssh does.
  public func setDefaultKeepalive(_ keepalive: Keepalive) async throws {
    try await namespace.perform {
      let base = "/proc/sys/net/ipv4/tcp_keepalive_"
      try KernelFile.write("\(keepalive.idleSeconds)", to: base + "time")
      try KernelFile.write("\(keepalive.intervalSeconds)", to: base + "intvl")
      try KernelFile.write("\(keepalive.probes)", to: base + "probes")
    }
  }
}
