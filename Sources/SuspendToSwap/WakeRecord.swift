/// What a QEMU process touched after its last wakes, its guest's RAM included, in the order of use: to be
/// read ahead in that order at the next wake, and written out in that order before, so that it lies together
/// in swap. (The idea of REAP, Ustiugov et al., ASPLOS 2021, with the page table in place of user-level
/// faults.)
///
/// In QEMU's addresses, so it means something only for as long as that process lives.
public struct WakeRecord: Hashable, Sendable {
  public struct Part: Hashable, Sendable {
    public let addresses: Range<UInt>
    /// The period after the wake in which it was first used: an index into ``WakeRecord/periods``.
    public let period: UInt8
    /// Wakes since it was last used.
    public let misses: UInt8

    package init(addresses: Range<UInt>, period: UInt8, misses: UInt8) {
      self.addresses = addresses
      self.period = period
      self.misses = misses
    }
  }

  /// In the order of use; no two overlap.
  public let parts: [Part]

  /// The ends of the periods in which use is told apart, after the wake. The last is as long as the first
  /// command after a wake without any record may take, so that its next one finds all of it.
  public static let periods: [Duration] = [
    2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000,
  ].map { .milliseconds($0) }
  /// The record's bound; what does not fit is fetched by faults.
  package static let maximumParts = 16_384
  /// Parts of one period that are closer than this many bytes are one: four pages more are read sooner than
  /// another request.
  package static let mergeGap: UInt = 4 * 4096
  /// What was not used at so many wakes in a row is forgotten.
  package static let maximumMisses: UInt8 = 2

  public static let empty = WakeRecord(parts: [])

  package init(parts: [Part]) {
    self.parts = parts
  }

  /// All addresses, in the order of use.
  public var order: [Range<UInt>] { parts.map(\.addresses) }
  /// Total length in bytes.
  public var bytes: UInt64 { parts.reduce(0) { $0 + UInt64($1.addresses.count) } }

  /// The record after one more wake.
  ///
  /// - Parameters:
  ///   - use: what was used first in each period.
  ///   - stayed: what was in memory all the time, so that nobody can tell whether it was used.
  ///   - isComplete: whether all periods were watched. Otherwise what was not used is not held against it.
  package func refreshed(
    by use: [[Range<UInt>]], stayed: [Range<UInt>], isComplete: Bool
  ) -> WakeRecord {
    var parts: [Part] = []
    var covered: [Range<UInt>] = []
    for (period, ranges) in use.enumerated() where period <= Int(UInt8.max) {
      let new = AddressRanges.merged(ranges, gap: Self.mergeGap)
        .flatMap { AddressRanges.subtract(covered, from: $0) }
      parts += new.map { Part(addresses: $0, period: UInt8(period), misses: 0) }
      covered = AddressRanges.merged(covered + new)
    }
    for old in self.parts {
      for rest in AddressRanges.subtract(covered, from: old.addresses) {
        let unknown = !isComplete || !AddressRanges.intersect(stayed, with: rest).isEmpty
        let misses = unknown ? old.misses : old.misses + 1
        if misses <= Self.maximumMisses {
          parts.append(Part(addresses: rest, period: old.period, misses: misses))
        }
      }
    }
    // What is used surely comes before what may be.
    parts.sort {
      ($0.period, $0.misses, $0.addresses.lowerBound)
        < ($1.period, $1.misses, $1.addresses.lowerBound)
    }
    return WakeRecord(parts: Array(parts.prefix(Self.maximumParts)))
  }
}
