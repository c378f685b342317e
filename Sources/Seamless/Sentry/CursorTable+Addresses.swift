public import Frames

/// How sure it is that an address is the guest's.
///
/// A guest that forwards packets sends from addresses that are not its own; answering ARP for them
/// would take them from their owner. Only what the guest has asserted on the link is answered for, and
/// IPv6's link-local addresses that it has sent from: no router forwards such packets (RFC 4291, 2.5.6).
public enum AddressEvidence: UInt8, Comparable, Sendable {
  /// The guest has probed for others that use it, and may find some.
  case tentative = 1
  /// The guest has sent IP packets from it.
  case seen = 2
  /// The guest has asserted it by ARP or neighbour discovery, or it is a link-local IPv6 address in use.
  case proven = 3

  public static func < (left: Self, right: Self) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// An address of the guest's.
public struct LearnedAddress: Hashable, Sendable {
  public var address: IPAddress
  public var evidence: AddressEvidence
  /// `VLANTags.network` of the frames that it is used in.
  public var network: UInt32
  /// When the guest last used it, in seconds of the monotonic clock.
  public var seen: UInt32
  /// Whether the guest says that it routes for others (the flag of its advertisements).
  var isRouter = false
  /// Whether the guest answers echo requests to it.
  var answersEcho = false

  var family: UInt8 { address.family }
}

/// An entry's 32 bytes: address 0 (two u64), network 16, seen 20 (u32), evidence 28 (u8: 0 for free),
/// flags 29 (u8: 1 for a router, 2 if echo requests are answered).
extension CursorTable {
  /// How many addresses there can be of each family.
  public static let addressesPerFamily = 16
  static let addressCount = 2 * addressesPerFamily

  private static let addressStart = 128
  private static let addressBytes = 32

  private func offset(ofAddress index: Int) -> Int {
    Self.addressStart + index * Self.addressBytes
  }

  private func indices(ofFamily family: UInt8) -> Range<Int> {
    family == 4 ? 0..<Self.addressesPerFamily : Self.addressesPerFamily..<Self.addressCount
  }

  /// The addresses that the guest is known by.
  public var addresses: [LearnedAddress] {
    (0..<Self.addressCount).compactMap { address(at: $0) }
  }

  /// Whether any address is answered for.
  var hasProvenAddress: Bool {
    (0..<Self.addressCount).contains {
      load(offset(ofAddress: $0) + 28, as: UInt8.self) == AddressEvidence.proven.rawValue
    }
  }

  func address(at index: Int) -> LearnedAddress? {
    let offset = offset(ofAddress: index)
    guard let evidence = AddressEvidence(rawValue: load(offset + 28)) else { return nil }
    let flags = load(offset + 29, as: UInt8.self)
    return LearnedAddress(
      address: IPAddress(
        family: index < Self.addressesPerFamily ? 4 : 6, words: (load(offset), load(offset + 8))),
      evidence: evidence, network: load(offset + 16), seen: load(offset + 20),
      isRouter: flags & 1 != 0, answersEcho: flags & 2 != 0)
  }

  /// The place of an address that the guest is known by.
  func index(of address: IPAddress) -> Int? {
    let (high, low) = address.words
    for index in indices(ofFamily: address.family) {
      let offset = offset(ofAddress: index)
      if load(offset + 8, as: UInt64.self) == low, load(offset, as: UInt64.self) == high,
        load(offset + 28, as: UInt8.self) != 0
      {
        return index
      }
    }
    return nil
  }

  /// Remembers that the guest uses an address, or uses it still.
  /// - Parameter now: seconds of the monotonic clock.
  /// - Returns: its place, or `nil` if it is none that a machine can own or if there is no room.
  @discardableResult
  func learn(
    _ address: IPAddress, _ evidence: AddressEvidence, network: UInt32, isRouter: Bool? = nil,
    at now: UInt32
  ) -> Int? {
    guard address.canBeOwned else { return nil }
    if let index = index(of: address), let known = self.address(at: index) {
      var entry = known
      // Use of an address that the guest has probed for shows that it kept it.
      entry.evidence =
        known.evidence == .tentative && evidence == .seen
        ? .proven : max(known.evidence, evidence)
      if evidence > .tentative {
        entry.network = network
        entry.seen = now
      }
      entry.isRouter = isRouter ?? known.isRouter
      if entry != known { write(entry, at: index) }
      return index
    }
    guard let index = roomForAddress(family: address.family, evidence, at: now) else {
      addressOverflow = max(now, 1)
      return nil
    }
    removeFlows(localIndex: index)
    forgetClosedPorts(localIndex: index)
    forgetRefusals(localIndex: index)
    write(
      LearnedAddress(
        address: address, evidence: evidence, network: network, seen: now,
        isRouter: isRouter ?? false),
      at: index)
    return index
  }

  /// Forgets an address and its flows.
  func forgetAddress(at index: Int) {
    removeFlows(localIndex: index)
    forgetClosedPorts(localIndex: index)
    forgetRefusals(localIndex: index)
    store(UInt8(0), offset(ofAddress: index) + 28)
  }

  /// Takes back that an address is certainly the guest's, because another claims it.
  func doubtAddress(at index: Int) {
    if load(offset(ofAddress: index) + 28, as: UInt8.self) == AddressEvidence.proven.rawValue {
      store(AddressEvidence.seen.rawValue, offset(ofAddress: index) + 28)
    }
  }

  /// Remembers whether the guest answers echo requests to an address.
  func setAnswersEcho(_ answers: Bool, at index: Int) {
    let offset = offset(ofAddress: index) + 29
    let flags = load(offset, as: UInt8.self)
    let changed = answers ? flags | 2 : flags & ~2
    if changed != flags { store(changed, offset) }
  }

  /// A free place, or that of an address that is worth less than a new one with this evidence: an
  /// unproven one that has been unused for a minute (or at all, for a proven one), or a proven one
  /// unused for an hour.
  private func roomForAddress(
    family: UInt8, _ evidence: AddressEvidence, at now: UInt32
  ) -> Int? {
    var victim: (index: Int, seen: UInt32, evidence: AddressEvidence)?
    for index in indices(ofFamily: family) {
      guard let entry = address(at: index) else { return index }
      let age = now &- entry.seen
      let isWorthLess =
        entry.evidence == .proven
        ? evidence == .proven && age > 3600 : evidence == .proven || age > 60
      guard isWorthLess else { continue }
      if victim.map({ (entry.evidence, entry.seen) < ($0.evidence, $0.seen) }) ?? true {
        victim = (index, entry.seen, entry.evidence)
      }
    }
    return victim?.index
  }

  private func write(_ entry: LearnedAddress, at index: Int) {
    let offset = offset(ofAddress: index)
    let (high, low) = entry.address.words
    let isNew = load(offset, as: UInt64.self) != high || load(offset + 8, as: UInt64.self) != low
    if isNew {
      store(UInt8(0), offset + 28)
      fence()
    }
    store(high, offset)
    store(low, offset + 8)
    store(entry.network, offset + 16)
    store(entry.seen, offset + 20)
    store(UInt8((entry.isRouter ? 1 : 0) | (entry.answersEcho ? 2 : 0)), offset + 29)
    fence()
    store(entry.evidence.rawValue, offset + 28)
  }
}
