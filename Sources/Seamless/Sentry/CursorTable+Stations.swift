public import Frames

/// Where on the link the guest sends what is for a peer. It goes to the station that the guest knows, whichever
/// one the peer's own frames come from: behind two routers with a common address that is not the same.
///
/// A way's 24 bytes: peer 0 (two u64, an IPv4 address in IPv6's form), station 16 (u64: the MAC that the guest
/// sends to, above it the mark of the one that the peer's frames come from; 0 for free).
extension CursorTable {
  /// How many ways there can be, in sets of four that a peer's address hashes to. Which one of a full set goes
  /// depends on the time; it costs a wake.
  static let wayLimit = 60
  private static let wayStart = 2576
  private static let wayBytes = 24
  private static let waysPerSet = 4

  /// Sixteen bits that tell stations apart; other ones in each table.
  public func mark(of station: MACAddress) -> UInt16 {
    UInt16(truncatingIfNeeded: mix(mix(seed ^ station.rawValue)) >> 40)
  }

  /// The station that the guest sends packets for a peer to.
  func way(to peer: IPAddress) -> MACAddress? {
    find(peer.wayWords).map { MACAddress(rawValue: load($0 + 16)) }
  }

  /// The same, if the peer's packets come from the station that is given.
  func way(to peer: IPAddress, heardFrom source: MACAddress) -> MACAddress? {
    guard let offset = find(peer.wayWords) else { return nil }
    let word = load(offset + 16, as: UInt64.self)
    let station = MACAddress(rawValue: word)
    return source == station || word >> 48 == UInt64(mark(of: source)) ? station : nil
  }

  /// Remembers where the guest has sent a packet for a peer.
  func setWay(to peer: IPAddress, _ station: MACAddress) {
    let words = peer.wayWords
    let known = find(words)
    if let known, MACAddress(rawValue: load(known + 16)) == station { return }
    let offset = known ?? roomForWay(words)
    store(UInt64(0), offset + 16)
    fence()
    store(words.0, offset)
    store(words.1, offset + 8)
    fence()
    store(UInt64(mark(of: station)) << 48 | station.rawValue, offset + 16)
  }

  /// Whether a peer is certainly in a network of the guest's. To others the guest answers ARP and neighbour
  /// solicitations, too, but all else goes by its routes, if there is one.
  func isNearGuest(_ peer: IPAddress) -> Bool {
    addresses.contains { $0.address.isNear(peer) }
  }

  func forgetWay(to peer: IPAddress) {
    if let offset = find(peer.wayWords) { store(UInt64(0), offset + 16) }
  }

  /// Remembers where a peer's packets come from, if the guest has answered it.
  func noteStation(of peer: IPAddress, _ source: MACAddress) {
    guard let offset = find(peer.wayWords) else { return }
    let word = load(offset + 16, as: UInt64.self)
    let changed = UInt64(mark(of: source)) << 48 | MACAddress(rawValue: word).rawValue
    if changed != word { store(changed, offset + 16) }
  }

  private func set(_ words: (UInt64, UInt64)) -> Int {
    let hash = mix(mix(seed ^ words.0) ^ words.1) >> 32
    let sets = UInt64(Self.wayLimit / Self.waysPerSet)
    return Self.wayStart + Int((hash * sets) >> 32) * Self.waysPerSet * Self.wayBytes
  }

  private func find(_ words: (UInt64, UInt64)) -> Int? {
    let start = set(words)
    for index in 0..<Self.waysPerSet {
      let offset = start + index * Self.wayBytes
      if load(offset + 8, as: UInt64.self) == words.1, load(offset, as: UInt64.self) == words.0,
        load(offset + 16, as: UInt64.self) != 0
      {
        return offset
      }
    }
    return nil
  }

  private func roomForWay(_ words: (UInt64, UInt64)) -> Int {
    let start = set(words)
    for index in 0..<Self.waysPerSet
    where load(start + index * Self.wayBytes + 16, as: UInt64.self) == 0 {
      return start + index * Self.wayBytes
    }
    return start + Int(lastHeard) % Self.waysPerSet * Self.wayBytes
  }
}

extension IPAddress {
  fileprivate var wayWords: (UInt64, UInt64) {
    switch self {
    case .v4(let address): (0, 0xffff_0000_0000 | UInt64(address.rawValue))
    case .v6(let address): (address.high, address.low)
    }
  }
}
