import LinuxSystem

/// Multicast snooping (IGMP and MLD, RFC 4541) of a network's bridge, which also asks the questions: a port
/// whose machine stops answering is cut off from its groups, and with those of neighbour discovery from
/// IPv6.
public struct SnoopingBridge: Sendable {
  private let network: LabNetwork
  private let port: String
  private let membershipSeconds: Int

  /// Turns snooping on.
  ///
  /// - Parameters:
  ///   - port: the machine's tap.
  ///   - querySeconds: between two general queries, at least 1; RFC 3810's default is 125. A membership ends
  ///     after twice that and what an answer may take.
  public init(
    on network: LabNetwork, port: String, querySeconds: Int = 125
  ) async throws {
    self.network = network
    self.port = port
    let responseSeconds = querySeconds >= 20 ? 10 : 1
    membershipSeconds = 2 * querySeconds + responseSeconds
    // In hundredths of a second. Startup: the first queries come as often as the later ones.
    for (name, value) in [
      ("multicast_snooping", 1), ("multicast_igmp_version", 3), ("multicast_mld_version", 2),
      ("multicast_query_use_ifaddr", 1), ("multicast_query_interval", querySeconds * 100),
      ("multicast_query_response_interval", responseSeconds * 100),
      ("multicast_startup_query_interval", querySeconds * 100),
      ("multicast_membership_interval", membershipSeconds * 100),
      ("multicast_querier_interval", membershipSeconds * 100), ("multicast_querier", 1),
    ] {
      try await network.host.run(
        "ip", "link", "set", network.bridge, "type", "bridge",
        name.replacing("multicast_", with: "mcast_"), "\(value)")
    }
  }

  /// Turns snooping and asking off.
  public func stop() async throws {
    try await network.host.run(
      "ip", "link", "set", network.bridge, "type", "bridge", "mcast_querier", "0",
      "mcast_snooping", "0")
  }

  /// The groups that the bridge forwards to the machine's port.
  public func groups() async throws -> Set<String> {
    let lines = try await network.host.run("bridge", "mdb", "show", "dev", network.bridge)
      .split(separator: "\n")
    return Set(
      lines.compactMap { line in
        let words = line.split(separator: " ")
        guard let place = words.firstIndex(of: "port"),
          words.dropFirst(place + 1).first == port[...],
          let name = words.firstIndex(of: "grp")
        else { return nil }
        return words.dropFirst(name + 1).first.map(String.init)
      })
  }

  /// The group of an address in neighbour discovery (RFC 4291, 2.7.1).
  ///
  /// - Parameter address: with a last part of one to four digits and zeros before it, as the lab's are.
  public static func solicitedNode(of address: String) -> String {
    "ff02::1:ff00:" + (address.split(separator: ":").last ?? "")
  }

  /// How long a machine that has fallen silent stays in its groups, in seconds.
  public var memorySeconds: Int { membershipSeconds }

  /// Makes sure for a while that the bridge still forwards groups to the machine, and that a client that
  /// knows nothing of it finds it over both families.
  ///
  /// - Returns: what was wrong; one sentence each.
  public func violations(
    of groups: Set<String>, _ guest: Guest, from client: LabClient, for duration: Duration,
    every interval: Duration
  ) async throws -> [String] {
    let clock = ContinuousClock()
    let start = clock.now
    var violations: [String] = []
    while clock.now - start < duration {
      let gone = groups.subtracting(try await self.groups())
      let seconds = (clock.now - start).components.seconds
      if !gone.isEmpty { violations.append("after \(seconds) s not a member of \(gone.sorted())") }
      try await client.namespace.run("ip", "neigh", "flush", "dev", "eth0")
      for address in guest.addresses.both {
        if try await Pinger(from: client, to: address).ping(within: .seconds(5)) == nil {
          violations.append("after \(seconds) s \(address) was not found")
        }
      }
      try await Task.sleep(for: interval)
    }
    return violations
  }
}
