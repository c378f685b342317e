/// The guest pages touched right after a wake, recorded to be prefetched at the next one (the idea of
/// REAP, Ustiugov et al., ASPLOS 2021, with the page cache's own record in place of user-level faults).
public struct WorkingSet: Hashable, Sendable, Codable {
  /// Offsets in guest RAM, ascending, disjoint, in bytes.
  public let ranges: [Range<UInt64>]

  /// Ranges closer than this are one: the kernel reads ahead that far anyway (`vm.page-cluster` is three,
  /// eight pages, by default).
  package static let mergeGap: UInt64 = 8 * 4096
  /// The record's bound; what does not fit is fetched by faults.
  package static let maximumRanges = 4096

  public init(residentRanges: [Range<UInt64>]) {
    var merged: [Range<UInt64>] = []
    for range in residentRanges {
      if let last = merged.last, range.lowerBound <= last.upperBound + Self.mergeGap {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else if merged.count < Self.maximumRanges {
        merged.append(range)
      }
    }
    ranges = merged
  }

  /// Total length in bytes.
  public var bytes: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }
}
