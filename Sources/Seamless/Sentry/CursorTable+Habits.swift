import Frames

/// How the guest answers where hosts differ, as seen of its own answers. What was not seen is as Linux
/// does it.
struct AnswerHabits: OptionSet, Hashable, Sendable {
  let rawValue: UInt8

  /// Routers may divide its IPv4 TCP segments.
  static let dividesSegments = AnswerHabits(rawValue: 1 << 0)
  /// Routers may not divide its IPv4 echo replies.
  static let keepsEchoesWhole = AnswerHabits(rawValue: 1 << 1)
  /// It says its MAC to a neighbour that solicits it alone.
  static let tellsMAC = AnswerHabits(rawValue: 1 << 2)
  /// It sets the override flag for such a neighbour.
  static let overrides = AnswerHabits(rawValue: 1 << 3)
}

/// The way of the guest's answers, and what it remembers of queriers.
extension CursorTable {
  var habits: AnswerHabits {
    get { AnswerHabits(rawValue: load(43)) }
    nonmutating set { if newValue != habits { store(newValue.rawValue, 43) } }
  }

  func setHabit(_ habit: AnswerHabits, _ isOne: Bool) {
    if isOne { habits.insert(habit) } else { habits.remove(habit) }
  }

  // MARK: - Routes

  /// The station that the guest last sent a packet for an address beyond its own neighbourhood to.
  func gateway(for address: IPAddress) -> MACAddress {
    MACAddress(rawValue: load(address.family == 4 ? 88 : 96))
  }

  func setGateway(_ mac: MACAddress, for address: IPAddress) {
    if mac != gateway(for: address) { store(mac.rawValue, address.family == 4 ? 88 : 96) }
  }

  // MARK: - Queriers of older versions

  /// For how long the guest speaks the version of an older querier, in seconds: the robustness variable
  /// times the query interval, and one query response interval, by their defaults (RFC 3376, 8.12;
  /// RFC 3810, 9.12).
  private static let olderQuerierTimeout: UInt32 = 260

  /// The version of the report that an IGMP query of a version gets, which counts as heard.
  func igmpVersion(afterQueryOf version: Int, at now: UInt32) -> Int {
    if version < 3 { store(now &+ Self.olderQuerierTimeout, version == 1 ? 104 : 108) }
    return isPresent(104, now) ? 1 : isPresent(108, now) ? 2 : version
  }

  /// The version of the report that an MLD query of a version gets, which counts as heard; nil if one without
  /// version gets none.
  func mldVersion(afterQueryOf version: Int?, at now: UInt32) -> Int? {
    if version == 1 { store(now &+ Self.olderQuerierTimeout, 112) }
    return isPresent(112, now) ? 1 : version
  }

  private func isPresent(_ offset: Int, _ now: UInt32) -> Bool {
    let left = load(offset, as: UInt32.self) &- now
    return left > 0 && left <= Self.olderQuerierTimeout
  }
}

extension IPAddress {
  /// Whether two addresses are so alike that a machine that has one reaches the other without a gateway:
  /// for IPv4 the first three bytes are the same, for IPv6 the first eight, or the other is link-local. A
  /// machine whose network is larger sends to such neighbours as to gateways.
  func isNear(_ other: IPAddress) -> Bool {
    switch (self, other) {
    case (.v4(let own), .v4(let other)): own.rawValue >> 8 == other.rawValue >> 8
    case (.v6(let own), .v6(let other)): other.isLinkLocal || own.high == other.high
    default: false
    }
  }
}

extension IPPacket {
  /// Whether it is one of those that go straight to a station of the link, whatever the routes say (RFC 4861).
  var isNeighbourDiscovery: Bool {
    if case .icmpv6(let message) = transport { (133...137).contains(message.type) } else { false }
  }
}
