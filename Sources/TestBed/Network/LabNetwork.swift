import LinuxNetwork
import LinuxSystem
import Synchronization

/// A host with a bridge, for daemons and virtual machines, and clients at the bridge, each in a network
/// namespace of its own.
///
/// Network number N is 10.77.N.0/24 and fd77:N::/64. The host is .1, guests begin at .10, clients at .100.
public final class LabNetwork: Sendable {
  /// 1 to 250.
  public let number: Int
  /// Where daemons and virtual machines run.
  public let host: Namespace
  /// The bridge's name in the host's namespace.
  public let bridge = "br0"

  private struct Count {
    var guests = 0
    /// Clients begun so far: several may be made at the same time.
    var numbers = 0
    var clients: [LabClient] = []
    var strangers = 0
  }
  private let count = Mutex(Count())

  init(number: Int) async throws {
    self.number = number
    host = try await Namespace(named: "host\(number)")
    let addresses = Self.addresses(network: number, host: 1)
    let bridge = bridge
    try await host.perform {
      let netlink = try RouteNetlink()
      try netlink.createBridge(named: bridge)
      let index = try netlink.index(of: bridge)
      try netlink.addAddress(index, addresses.ipv4WithPrefix)
      try netlink.addAddress(index, addresses.ipv6WithPrefix)
      try netlink.setUp(index, up: true)
    }
  }

  /// Adds a client.
  public func addClient() async throws -> LabClient {
    let index = nextClientNumber()
    let client = try await LabClient(
      network: self, bridge: bridge, addresses: Self.addresses(network: number, host: 99 + index),
      index: index)
    count.withLock { $0.clients.append(client) }
    return client
  }

  /// Adds a bridge that is connected to nothing but a client of its own, which has the addresses of the
  /// network's first client: a place for a guest that has the addresses of another one.
  public func addIsland() async throws -> LabIsland {
    let index = nextClientNumber()
    let bridge = "island\(index)"
    try await host.perform {
      let netlink = try RouteNetlink()
      try netlink.createBridge(named: bridge)
      try disableIPv6(onInterface: bridge)
      try netlink.setUp(try netlink.index(of: bridge), up: true)
    }
    let client = try await LabClient(
      network: self, bridge: bridge, addresses: Self.addresses(network: number, host: 100),
      index: index)
    count.withLock { $0.clients.append(client) }
    return LabIsland(bridge: bridge, client: client)
  }

  private func nextClientNumber() -> Int {
    count.withLock { count in
      count.numbers += 1
      return count.numbers
    }
  }

  /// Adds a client whose frames all pass a wire of the lab's own, until the wire is cut.
  public func addWiredClient() async throws -> (client: LabClient, wire: Wire) {
    let index = nextClientNumber()
    var wire: Wire?
    let client = try await LabClient(
      network: self, addresses: Self.addresses(network: number, host: 99 + index), index: index
    ) { wire = $0 }
    guard let wire else {
      throw TestBedError(code: .malformed, message: "a wired client without a wire")
    }
    count.withLock { $0.clients.append(client) }
    return (client, wire)
  }

  /// A name for a port of a machine that is not Linux, and addresses for it.
  func nextStranger() -> (port: String, addresses: LabAddresses) {
    let index = count.withLock { count in
      count.strangers += 1
      return count.strangers
    }
    return ("stranger\(index)", Self.addresses(network: number, host: 199 + index))
  }

  /// Makes an interface of the host's a port of the bridge.
  func attach(_ port: String, to bridge: String? = nil) async throws {
    let bridge = bridge ?? self.bridge
    try await host.perform {
      let netlink = try RouteNetlink()
      let index = try netlink.index(of: port)
      try netlink.setMaster(index, master: try netlink.index(of: bridge))
      try netlink.setUp(index, up: true)
    }
  }

  /// Addresses for a guest that no other guest of this network has.
  public func nextGuestAddresses() -> LabAddresses {
    let index = count.withLock { count in
      count.guests += 1
      return count.guests
    }
    return Self.addresses(network: number, host: 9 + index)
  }

  /// Takes all of it away. What still runs inside keeps its namespace until it ends.
  public func remove() {
    for client in count.withLock({ $0.clients }) { client.namespace.remove() }
    host.remove()
    Lab.giveBack(network: number)
  }

  private static func addresses(network: Int, host: Int) -> LabAddresses {
    LabAddresses(network: network, host: host)
  }
}

/// See ``LabNetwork/addIsland()``.
public struct LabIsland: Sendable {
  /// The bridge's name in the host's namespace.
  public let bridge: String
  public let client: LabClient
}

/// The addresses of one machine of a ``LabNetwork``.
public struct LabAddresses: Sendable, Hashable {
  let network: Int
  let host: Int

  public var ipv4: String { "10.77.\(network).\(host)" }
  public var ipv6: String { "fd77:\(String(network, radix: 16))::\(String(host, radix: 16))" }
  public var both: [String] { [ipv4, ipv6] }
  var ipv4WithPrefix: String { ipv4 + "/24" }
  var ipv6WithPrefix: String { ipv6 + "/64" }

  /// Locally administered, QEMU's prefix.
  public var macAddress: String {
    "52:54:00:77:"
      + [network, host].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
      .joined(separator: ":")
  }
}

extension RouteNetlink {
  /// The index of an interface that must be there.
  borrowing func index(of name: String) throws -> CInt {
    guard let index = try linkIndex(named: name) else {
      throw TestBedError(code: .malformed, message: "the interface \(name) is missing")
    }
    return index
  }
}
