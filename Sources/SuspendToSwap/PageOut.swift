import Glibc
package import LinuxMemory
public import LinuxProcess
import LinuxSystem

/// What paging a VM out has brought. All sizes in bytes.
public struct PageOutReport: Hashable, Sendable, Codable {
  /// Guest RAM in memory before: what the guest had touched and the host still held.
  public let touchedBytes: UInt64
  /// Guest RAM in memory afterwards.
  public let residentBytes: UInt64
  /// Guest RAM already written to swap whose memory the kernel has not given back yet.
  public let swapCachedBytes: UInt64
  /// What the host got back: `touched - resident - swapCached`.
  public let releasedBytes: UInt64
  /// Growth of the zram and zswap pools, which eat a part of the gain.
  public let poolGrowthBytes: UInt64
  /// Change of the host's MemAvailable meanwhile; the world goes on beside it, so it only corroborates.
  public let availableGrowthBytes: Int64
  /// Passes of MADV_PAGEOUT that it took.
  public let passes: Int
  public let seconds: Double

  /// The honest gain of the host.
  public var netGainBytes: Int64 { Int64(releasedBytes) - Int64(poolGrowthBytes) }
  /// Share of the touched memory that was released, 0 to 1.
  public var releasedFraction: Double {
    touchedBytes == 0 ? 1 : Double(releasedBytes) / Double(touchedBytes)
  }
}

/// Pages a paused VM's RAM out to swap.
///
/// Two steps, because one does not free anything: `MADV_PAGEOUT` (madvise(2)) unmaps the pages and
/// writes them, but pages on their way to a swap file or partition stay in the *swap cache* when the
/// writes have ended, until something reclaims them. cachestat and mincore no longer count them and yet
/// MemAvailable has not moved. The second step lets the VM's own control group reclaim exactly those.
/// Compressed swap (zram, zswap) has no such cache and nothing to reclaim.
public struct PageOut: Sendable {
  /// `MADV_PAGEOUT` may decline pages and report success, so it is asked again this many times.
  static let maximumPasses = 5
  /// Done when no more than this share of the touched memory is left.
  static let goodEnough = 0.005
  /// Swap cache in bytes below which nothing is to be gained from looking whose it is.
  static let worthAdopting: UInt64 = 1 << 20
  /// A sleep that leaves more than this share behind is not worth its name.
  static let worthwhile = 0.5
  /// Unless it is this little, in bytes: a VM that was awake for a moment has not touched much.
  static let tolerable: UInt64 = 16 << 20

  /// Must be called on a thread that may block: it takes tenths of a second to seconds.
  ///
  /// - Parameters:
  ///   - memory: the RAM of a VM that is paused and that nobody else maps.
  ///   - record: what the next wake will use: it goes first, in that order, and so lies together in swap.
  ///   - process: its QEMU.
  ///   - group: the memory control group that QEMU runs in, where there is one.
  ///   - shouldContinue: asked between portions of 64 MiB; when false, paging stops.
  /// - Throws: ``SuspendError`` `.swapFull`, `.interrupted` or `.declined`; `LinuxError` when a system
  ///   call fails. Part of the memory may be in swap then, which costs the VM some faults and nothing else.
  public static func run(
    _ memory: borrowing GuestMemory, record: WakeRecord = .empty,
    of process: borrowing ProcessHandle, group: MemoryControlGroup?,
    shouldContinue: @Sendable () -> Bool
  ) throws -> PageOutReport {
    let clock = ContinuousClock()
    let started = clock.now
    let hostBefore = try MemoryInformation.current()
    let poolsBefore = try SwapStatus.current().poolBytes
    if try (group?.swapCachedBytes() ?? 0) > worthAdopting { try memory.adoptReadAhead() }
    let touched = try memory.residentBytes()

    let ram = AddressRanges.merged(memory.place.addresses)
    try advise(
      process.descriptor, ranges: record.order.flatMap { AddressRanges.intersect(ram, with: $0) },
      .pageOut, shouldContinue: shouldContinue)
    var resident = touched
    var passes = 0
    while passes < maximumPasses, Double(resident) > Double(touched) * goodEnough {
      _ = try advise(
        process.descriptor, ranges: ram, .pageOut,
        shouldContinue: shouldContinue)
      passes += 1
      guard shouldContinue() else {
        throw SuspendError(.interrupted, "the VM was woken while it was being paged out")
      }
      let left = try memory.residentBytes()
      if left == resident, passes > 1 { break }
      resident = left
    }
    if Double(resident) > Double(touched) * goodEnough {
      try memory.pageOutUnmapped(shouldContinue: shouldContinue)
      resident = try memory.residentBytes()
    }
    try refuseFullSwap(try SwapStatus.current(), resident: resident, touched: touched)

    // The group has QEMU's own memory in it, too, whose turn comes later.
    _ = try group?.dropSwapCache(
      measuredBy: { () throws(LinuxError) in try memory.swapCachedBytes() },
      shouldContinue: shouldContinue)
    guard shouldContinue() else {
      throw SuspendError(.interrupted, "the VM was woken while it was being paged out")
    }

    let host = try MemoryInformation.current()
    let swapCached = try memory.swapCachedBytes()
    let pools = try SwapStatus.current().poolBytes
    let report = PageOutReport(
      touchedBytes: touched, residentBytes: resident, swapCachedBytes: swapCached,
      releasedBytes: touched - min(touched, resident + swapCached),
      poolGrowthBytes: pools - min(pools, poolsBefore),
      availableGrowthBytes: Int64(host.availableBytes) - Int64(hostBefore.availableBytes),
      passes: passes, seconds: (clock.now - started) / .seconds(1))
    guard report.releasedFraction >= worthwhile || resident + swapCached <= tolerable else {
      throw SuspendError(
        .declined,
        "the kernel kept \((resident + swapCached) >> 20) of \(touched >> 20) MiB in memory "
          + "although swap has room")
    }
    return report
  }

  /// Tells a swap that ran full under way from pages that the kernel declined for other reasons.
  package static func refuseFullSwap(
    _ swap: SwapStatus, resident: UInt64, touched: UInt64
  ) throws(SuspendError) {
    guard Double(resident) > Double(touched) * goodEnough,
      swap.freeBytes < min(resident, SwapRoom.reserveBytes)
    else { return }
    throw SuspendError(
      .swapFull,
      "swap ran full with \(resident >> 20) of \(touched >> 20) MiB of the VM still in memory")
  }
}
