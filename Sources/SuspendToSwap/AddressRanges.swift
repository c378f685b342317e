/// Sets of addresses, as lists of ranges that are ascending and disjoint.
package enum AddressRanges {
  /// Sorts, and joins what overlaps or lies no further apart than `gap` bytes.
  package static func merged(_ ranges: [Range<UInt>], gap: UInt = 0) -> [Range<UInt>] {
    var merged: [Range<UInt>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
      if let last = merged.last, range.lowerBound <= last.upperBound.addingClamped(gap) {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    return merged
  }

  /// The parts of a range that are not in the set.
  package static func subtract(_ set: [Range<UInt>], from range: Range<UInt>) -> [Range<UInt>] {
    var rest: [Range<UInt>] = []
    var start = range.lowerBound
    for taken in set[firstIndex(in: set, reaching: start)...] {
      if taken.lowerBound >= range.upperBound { break }
      if taken.lowerBound > start { rest.append(start..<taken.lowerBound) }
      start = max(start, taken.upperBound)
    }
    if start < range.upperBound { rest.append(start..<range.upperBound) }
    return rest
  }

  /// The parts of a range that are in the set.
  package static func intersect(_ set: [Range<UInt>], with range: Range<UInt>) -> [Range<UInt>] {
    var common: [Range<UInt>] = []
    for part in set[firstIndex(in: set, reaching: range.lowerBound)...] {
      if part.lowerBound >= range.upperBound { break }
      common.append(part.clamped(to: range))
    }
    return common.filter { !$0.isEmpty }
  }

  package static func bytes(_ ranges: [Range<UInt>]) -> UInt64 {
    ranges.reduce(0) { $0 + UInt64($1.count) }
  }

  /// The first bytes of a list, in its order.
  package static func prefix(of ranges: [Range<UInt>], bytes: UInt) -> [Range<UInt>] {
    var room = bytes
    var taken: [Range<UInt>] = []
    for range in ranges where room > 0 {
      let length = min(UInt(range.count), room)
      taken.append(range.lowerBound..<(range.lowerBound + length))
      room -= length
    }
    return taken
  }

  /// The first range of a set that ends after an address; by halving, since sets have thousands.
  private static func firstIndex(in set: [Range<UInt>], reaching address: UInt) -> Int {
    var low = 0
    var high = set.count
    while low < high {
      let middle = (low + high) / 2
      if set[middle].upperBound <= address { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension UInt {
  fileprivate func addingClamped(_ other: UInt) -> UInt {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
