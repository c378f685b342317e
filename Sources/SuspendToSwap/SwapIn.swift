public import LinuxMemory
public import LinuxProcess
import LinuxSystem

/// Reads back what a woken VM has in swap and has not asked for, in the order of addresses, so that later use
/// waits for no disk. In small portions: between any two the caller may stop.
public enum SwapIn {
  /// Bytes that one ``portion(_:from:of:)`` reads at most.
  public static let portionBytes: UInt64 = 1 << 20
  /// Bytes of RAM that are looked at at a time.
  private static let window: UInt64 = 256 << 10
  /// Bytes of RAM that one call looks at, whether or not anything is in swap: it shall be short.
  private static let reach: UInt64 = 256 << 20
  /// Part of the host's memory that stays available for others, and never fewer bytes than this.
  private static let reservedShare: UInt64 = 8
  private static let reservedBytes: UInt64 = 256 << 20

  /// What one portion has brought.
  public struct Portion: Hashable, Sendable {
    public let readBytes: UInt64
    /// Where in the RAM the next one begins, in bytes; nil at its end.
    public let next: UInt64?
  }

  /// Whether the host has memory to spare for what nobody has asked for.
  public static func isAffordable(_ memory: MemoryInformation) -> Bool {
    memory.availableBytes
      >= max(memory.totalBytes / reservedShare, reservedBytes) + portionBytes
  }

  /// Reads the next portion. Blocks: call it on a thread of its own, which it leaves with the lowest
  /// priority on disks.
  ///
  /// By a short-lived mapping of our own. QEMU's page table does not change, so what comes in this way is not
  /// taken for used. A page that was never written stays unallocated.
  ///
  /// - Parameter start: where to begin in the RAM, in bytes.
  /// - Throws: `LinuxError`, ``SuspendError`` when the memory is gone.
  public static func portion(
    _ place: GuestMemory.Place, from start: UInt64, of process: borrowing ProcessHandle
  ) throws -> Portion {
    DiskPriority.yieldToAll()
    let memory = try GuestMemory(at: place, of: process)
    let size = memory.size
    let mapping = try memory.mapped()
    let end = min(size, start + reach)
    var position = start
    var read: UInt64 = 0
    while position < end, read + window <= portionBytes {
      let upper = min(position + window, size)
      let swapped = try Residency.swappedRanges(
        of: memory.memory.rawValue, in: position..<upper)
      mapping.request(swapped)
      for range in swapped { mapping.populate(range) }
      read += swapped.reduce(0) { $0 + UInt64($1.count) }
      position = upper
    }
    return Portion(readBytes: read, next: position < size ? position : nil)
  }
}
