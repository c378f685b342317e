import CLinux
public import LinuxSystem
import SystemPackage

/// What a process is advised to do with pages (madvise(2)).
public enum PageAdvice: Hashable, Sendable {
  /// Write them to swap and unmap them (MADV_PAGEOUT). The kernel passes over pages that are locked or
  /// mapped by several processes, and reports success all the same: check with ``Residency``.
  case pageOut
  /// Start reading them back, without waiting for the device (MADV_WILLNEED).
  case willNeed
  /// Let reclaim take them first (MADV_COLD).
  case cold

  fileprivate var rawValue: CInt {
    switch self {
    case .pageOut: dormouse_advice_page_out
    case .willNeed: dormouse_advice_will_need
    case .cold: dormouse_advice_cold
    }
  }
}

/// Gives advice about another process's memory (process_madvise(2), Linux 5.10; needs CAP_SYS_NICE and the
/// right to read its memory map).
///
/// Blocks for as long as the kernel works: up to tenths of a second per portion for
/// ``PageAdvice/pageOut``. Call it on a thread of its own.
///
/// - Parameters:
///   - pidfd: the process.
///   - ranges: addresses in that process, widened to whole pages.
///   - passingOver: leaves out a range that is not mapped (any more) or cannot be advised, and goes on.
///   - shouldContinue: asked before each portion of at most 64 MiB; when false, the rest is left.
/// - Returns: bytes advised.
/// - Throws: ``LinuxError/Code/gone`` when the process has ended, ENOMEM when a range is not mapped,
///   EINVAL when it cannot be advised (locked, huge pages), EPERM.
@discardableResult
public func advise(
  _ pidfd: CInt, ranges: [Range<UInt>], _ advice: PageAdvice, passingOver: Bool = false,
  shouldContinue: () -> Bool
) throws(LinuxError) -> UInt64 {
  var portions = AdvicePortions(ranges)
  var advised: UInt64 = 0
  var attempts = 0
  while !portions.isEmpty, shouldContinue() {
    let portion = portions.next
    let count = dormouse_process_madvise(pidfd, portion, portion.count, advice.rawValue)
    if count > 0 {
      advised += UInt64(count)
      portions.advance(by: UInt(count))
      attempts = 0
      continue
    }
    let failure =
      count == 0 ? Errno.resourceTemporarilyUnavailable : Errno(rawValue: dormouse_errno())
    if passingOver, failure == .noMemory || failure == .invalidArgument {
      portions.skipRange()
      continue
    }
    attempts += 1
    guard failure == .interrupted || failure == .resourceTemporarilyUnavailable,
      attempts < maximumAttempts
    else {
      throw LinuxError("advise \(advice) of another process's memory", failure)
    }
  }
  return advised
}

/// How often the same portion is tried while the kernel says "again".
private let maximumAttempts = 100

/// What is left of a list of ranges, handed out in portions that one call may take.
private struct AdvicePortions {
  /// UIO_MAXIOV.
  private static let maximumRanges = 1_024
  private static let maximumBytes: UInt = 64 << 20

  private let ranges: [Range<UInt>]
  private var index = 0
  /// Bytes of `ranges[index]` that are done.
  private var done: UInt = 0

  init(_ ranges: [Range<UInt>]) {
    let page = UInt(dormouse_page_size())
    self.ranges = ranges.filter { !$0.isEmpty }.map { range in
      let end = range.upperBound.addingReportingOverflow(page - 1)
      let upper = end.overflow ? UInt.max / page * page : end.partialValue / page * page
      return (range.lowerBound / page * page)..<upper
    }
  }

  var isEmpty: Bool { index == ranges.count }

  var next: [dormouse_range] {
    var portion: [dormouse_range] = []
    var room = Self.maximumBytes
    var skipped = done
    for range in ranges[index...] {
      if room == 0 || portion.count == Self.maximumRanges { break }
      let start = range.lowerBound + skipped
      let length = min(range.upperBound - start, room)
      skipped = 0
      room -= length
      portion.append(dormouse_range(start: start, length: Int(length)))
    }
    return portion
  }

  /// Leaves out what is left of the first range.
  mutating func skipRange() {
    index += 1
    done = 0
  }

  mutating func advance(by bytes: UInt) {
    var left = bytes
    while left > 0, index < ranges.count {
      let step = min(left, UInt(ranges[index].count) - done)
      left -= step
      done += step
      if done == UInt(ranges[index].count) {
        index += 1
        done = 0
      }
    }
  }
}
