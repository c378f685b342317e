package import LinuxMemory
public import LinuxProcess
import LinuxSystem

/// What paging QEMU's own memory out has brought. All in bytes.
public struct OwnPageOutReport: Hashable, Sendable {
  /// Resident memory of the whole process before, each page divided by the number of processes that map it
  /// (PSS); what was left of guest RAM is in it.
  public let proportionalBytesBefore: UInt64
  public let proportionalBytesAfter: UInt64
  /// Growth of the zram and zswap pools, which eat a part of the gain.
  public let poolGrowthBytes: UInt64

  public var releasedBytes: UInt64 {
    proportionalBytesBefore - min(proportionalBytesBefore, proportionalBytesAfter)
  }
}

extension PageOut {
  /// What the record knows to be used first stays in memory, up to so many bytes: it is what QEMU needs
  /// before the guest runs, and every fault of that is felt.
  static let keptBytes: UInt = 1 << 20
  /// Of QEMU's own memory, in bytes: swap without this much room is full.
  static let needed: UInt64 = 1 << 20

  /// Pages QEMU's own memory out, after its guest's, and gives back the page cache of its files.
  ///
  /// After this nobody may ask QEMU anything until it is to wake: each answer would bring pages back.
  /// Must be called on a thread that may block.
  ///
  /// - Parameters:
  ///   - guest: where the guest's RAM is, which is left alone.
  ///   - record: what the next wake will use.
  ///   - keeping: whether the first of that stays.
  ///   - process: a QEMU whose guest is paused.
  ///   - shouldContinue: asked between portions of 64 MiB; when false, paging stops.
  /// - Throws: ``SuspendError`` `.swapFull` or `.interrupted`; `LinuxError` when a system call fails.
  public static func runOwn(
    beside guest: GuestMemory.Place, record: WakeRecord, keeping: Bool,
    of process: borrowing ProcessHandle, group: MemoryControlGroup?,
    shouldContinue: @Sendable () -> Bool
  ) throws -> OwnPageOutReport {
    let pid = process.identity.pid
    let before = try ProcessMemory.of(pid: pid)
    let poolsBefore = try SwapStatus.current().poolBytes
    let memory = try OwnMemory(of: pid, beside: guest)
    let used = record.order.flatMap { AddressRanges.intersect(memory.addresses, with: $0) }
    let kept = AddressRanges.merged(
      keeping ? AddressRanges.prefix(of: used, bytes: keptBytes) : [])
    let leaving = memory.addresses.flatMap { AddressRanges.subtract(kept, from: $0) }
    let order = used.flatMap { AddressRanges.subtract(kept, from: $0) }
    // The second time for what the first has declined.
    for ranges in [order, leaving, leaving] {
      try advise(
        process.descriptor, ranges: ranges, .pageOut, passingOver: true,
        shouldContinue: shouldContinue)
    }
    try refuseInterruption(shouldContinue)
    try refuseFullSwap(
      try SwapStatus.current(), resident: try ProcessMemory.of(pid: pid).anonymousBytes,
      before: before.anonymousBytes)
    _ = try group?.dropSwapCache(shouldContinue: shouldContinue)
    try refuseInterruption(shouldContinue)
    try group?.dropFileCache()
    let pools = try SwapStatus.current().poolBytes
    return OwnPageOutReport(
      proportionalBytesBefore: before.proportionalSetBytes,
      proportionalBytesAfter: try ProcessMemory.of(pid: pid).proportionalSetBytes,
      poolGrowthBytes: pools - min(pools, poolsBefore))
  }

  /// What stays although swap has room was declined by the kernel, and is no reason to wake.
  package static func refuseFullSwap(
    _ swap: SwapStatus, resident: UInt64, before: UInt64
  ) throws(SuspendError) {
    guard resident > UInt64(keptBytes) + before / 4, swap.freeBytes < needed else { return }
    throw SuspendError(
      .swapFull,
      "swap ran full with \(resident >> 20) of \(before >> 20) MiB of QEMU's own still in memory")
  }

  private static func refuseInterruption(
    _ shouldContinue: () -> Bool
  ) throws(SuspendError) {
    guard shouldContinue() else {
      throw SuspendError(.interrupted, "the VM was woken while it was being paged out")
    }
  }
}
