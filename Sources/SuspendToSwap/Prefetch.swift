internal import LinuxMemory
public import LinuxProcess
import LinuxSystem

/// Reads back what a wake will use, ahead of its use and in its order. Every call blocks: make it on a thread
/// of its own.
public enum Prefetch {
  /// Bytes that one ``guest(_:from:of:)`` brings.
  public static let portion: UInt64 = 16 << 20
  /// Bytes that are under way at a time: more, and a fault would wait behind them; less, and the disk would
  /// wait for us.
  fileprivate static let slice: UInt64 = 2 << 20
  /// Of QEMU's own memory, in bytes: what it needs before the guest runs, and what is used in a hurry.
  private static let firstOwnBytes: UInt = 4 << 20
  private static let maximumOwnBytes: UInt = 48 << 20

  /// Starts reading those of QEMU's own pages that are used first. Returns the bytes asked for.
  ///
  /// - Throws: `LinuxError` when the process has ended.
  public static func firstOwn(
    _ plan: WakePlan, of process: borrowing ProcessHandle
  ) throws -> UInt64 {
    try request(AddressRanges.prefix(of: plan.own, bytes: firstOwnBytes), of: process)
  }

  /// The same for the rest of them.
  public static func otherOwn(
    _ plan: WakePlan, of process: borrowing ProcessHandle
  ) throws -> UInt64 {
    let first = AddressRanges.merged(AddressRanges.prefix(of: plan.own, bytes: firstOwnBytes))
    let others = plan.own.flatMap { AddressRanges.subtract(first, from: $0) }
    return try request(
      AddressRanges.prefix(of: others, bytes: maximumOwnBytes - firstOwnBytes), of: process)
  }

  private static func request(
    _ ranges: [Range<UInt>], of process: borrowing ProcessHandle
  ) throws -> UInt64 {
    try advise(
      process.descriptor, ranges: ranges, .willNeed, passingOver: true, shouldContinue: { true })
  }

  /// Reads a portion of the guest's pages, and puts those that have come into the page cache, where a fault
  /// of QEMU's finds them without further work.
  ///
  /// By a short-lived mapping of our own: the kernel populates no other process's page table on order.
  ///
  /// - Parameter start: bytes of the plan that are done.
  /// - Returns: bytes of the plan that are done now; `start` when there is no more.
  /// - Throws: `LinuxError`, ``SuspendError`` when the memory is gone.
  public static func guest(
    _ plan: WakePlan, from start: UInt64, of process: borrowing ProcessHandle
  ) throws -> UInt64 {
    let slices = plan.slices(from: start, bytes: portion)
    guard !slices.isEmpty else { return start }
    let memory = try GuestMemory(at: plan.place, of: process)
    let mapping = try memory.mapped()
    var done = start
    // One slice is under way while the one before it is waited for.
    for (index, slice) in slices.enumerated() {
      if index == 0 { mapping.request(slice) }
      if index + 1 < slices.count { mapping.request(slices[index + 1]) }
      for range in slice {
        mapping.populate(range)
        done += UInt64(range.count)
      }
    }
    return done
  }
}

extension WakePlan {
  /// The next bytes of the guest's pages, in slices.
  fileprivate func slices(from start: UInt64, bytes: UInt64) -> [[Range<UInt64>]] {
    var slices: [[Range<UInt64>]] = []
    var slice: [Range<UInt64>] = []
    var filled: UInt64 = 0
    var position: UInt64 = 0
    var left = bytes
    for range in guest {
      let length = UInt64(range.count)
      var offset = start > position ? min(start - position, length) : 0
      position += length
      while offset < length, left > 0 {
        let step = min(length - offset, Prefetch.slice - filled, left)
        let lower = range.lowerBound + offset
        slice.append(lower..<(lower + step))
        offset += step
        filled += step
        left -= step
        if filled == Prefetch.slice {
          slices.append(slice)
          slice = []
          filled = 0
        }
      }
      if left == 0 { break }
    }
    if !slice.isEmpty { slices.append(slice) }
    return slices
  }
}
