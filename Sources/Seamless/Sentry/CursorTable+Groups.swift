public import Frames

/// Multicast groups that the guest has joined. An entry is free when it is zero; of an IPv6 entry
/// the half that is never zero in a group is cleared first and written last.
extension CursorTable {
  /// How many groups there can be of each family; further ones are not reported.
  public static let groupsPerFamily = 32

  private static let ipv4Start = 1152
  private static let ipv6Start = 1280

  private func ipv4Group(at index: Int) -> IPv4Address? {
    let raw = load(Self.ipv4Start + 4 * index, as: UInt32.self)
    return raw == 0 ? nil : IPv4Address(rawValue: raw)
  }

  private func ipv6Group(at index: Int) -> IPv6Address? {
    let offset = Self.ipv6Start + 16 * index
    let high = load(offset, as: UInt64.self)
    return high == 0 ? nil : IPv6Address(high: high, low: load(offset + 8))
  }

  /// The IPv4 groups that the guest has joined.
  public var ipv4Groups: [IPv4Address] {
    (0..<Self.groupsPerFamily).compactMap { ipv4Group(at: $0) }
  }

  /// The IPv6 groups that the guest has joined, with the solicited-node groups of its addresses
  /// whether their reports were seen or not: without them a switch that snoops would cut neighbour
  /// discovery off.
  public var ipv6Groups: [IPv6Address] {
    var groups = (0..<Self.groupsPerFamily).compactMap { ipv6Group(at: $0) }
    for index in Self.addressesPerFamily..<Self.addressCount {
      guard case .v6(let address) = address(at: index)?.address,
        !groups.contains(address.solicitedNode)
      else { continue }
      groups.append(address.solicitedNode)
    }
    return groups
  }

  /// Whether the guest has joined a group, the solicited-node groups of its addresses included.
  func isMember(of group: IPv6Address) -> Bool {
    for index in Self.addressesPerFamily..<Self.addressCount {
      if case .v6(let address) = address(at: index)?.address, address.solicitedNode == group {
        return true
      }
    }
    return (0..<Self.groupsPerFamily).contains { ipv6Group(at: $0) == group }
  }

  /// Whether the guest's interface takes frames to a group's Ethernet address: that of everybody, or of a
  /// group that the guest has joined.
  func isListening(to mac: MACAddress) -> Bool {
    guard mac != .broadcast else { return true }
    if mac.rawValue >> 32 == 0x3333 {
      var hasAddress = false
      for index in Self.addressesPerFamily..<Self.addressCount {
        guard case .v6(let address) = address(at: index)?.address else { continue }
        if address.solicitedNode.multicastMAC == mac { return true }
        hasAddress = true
      }
      return hasAddress && mac == IPv6Address.allNodes.multicastMAC
        || (0..<Self.groupsPerFamily).contains { ipv6Group(at: $0)?.multicastMAC == mac }
    }
    return mac == IPv4Address.allHosts.multicastMAC
      || (0..<Self.groupsPerFamily).contains { ipv4Group(at: $0)?.multicastMAC == mac }
  }

  func join(_ group: IPv4Address) {
    guard group.isMulticast, group != .allHosts else { return }
    var free: Int?
    for index in 0..<Self.groupsPerFamily {
      guard let known = ipv4Group(at: index) else {
        free = free ?? index
        continue
      }
      if known == group { return }
    }
    if let free { store(group.rawValue, Self.ipv4Start + 4 * free) }
  }

  func leave(_ group: IPv4Address) {
    for index in 0..<Self.groupsPerFamily where ipv4Group(at: index) == group {
      store(UInt32(0), Self.ipv4Start + 4 * index)
    }
  }

  func join(_ group: IPv6Address) {
    guard group.isReportedGroup else { return }
    var free: Int?
    for index in 0..<Self.groupsPerFamily {
      guard let known = ipv6Group(at: index) else {
        free = free ?? index
        continue
      }
      if known == group { return }
    }
    guard let free else { return }
    store(group.low, Self.ipv6Start + 16 * free + 8)
    fence()
    store(group.high, Self.ipv6Start + 16 * free)
  }

  func leave(_ group: IPv6Address) {
    for index in 0..<Self.groupsPerFamily where ipv6Group(at: index) == group {
      store(UInt64(0), Self.ipv6Start + 16 * index)
    }
  }
}
