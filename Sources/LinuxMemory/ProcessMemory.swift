public import LinuxSystem

/// What a process costs in memory (/proc/PID/smaps_rollup, proc(5)). All in bytes.
public struct ProcessMemory: Hashable, Sendable {
  /// Resident memory, each page divided by the number of processes that map it.
  public let proportionalSetBytes: UInt64
  /// Resident memory, shared pages in full.
  public let residentBytes: UInt64
  /// Resident memory that no other process maps.
  public let privateBytes: UInt64
  /// Resident anonymous memory.
  public let anonymousBytes: UInt64
  /// In swap: anonymous memory, and of each memory file what its mappings cover, whoever touched it.
  public let swapBytes: UInt64
  /// Anonymous memory in swap, divided as in ``proportionalSetBytes``. Memory files are left out.
  public let proportionalSwapBytes: UInt64
  /// Locked memory, divided as in ``proportionalSetBytes``.
  public let lockedBytes: UInt64

  /// Adds up all mappings of the process. The kernel walks its page tables for this: milliseconds per GiB.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public static func of(pid: Int32) throws(LinuxError) -> ProcessMemory {
    let table = try read("smaps_rollup", of: pid)
    return ProcessMemory(
      proportionalSetBytes: table["Pss"] ?? 0, residentBytes: table["Rss"] ?? 0,
      privateBytes: (table["Private_Clean"] ?? 0) + (table["Private_Dirty"] ?? 0),
      anonymousBytes: table["Anonymous"] ?? 0, swapBytes: table["Swap"] ?? 0,
      proportionalSwapBytes: table["SwapPss"] ?? 0,
      lockedBytes: table["Locked"] ?? 0)
  }

  /// ``ProcessMemory/proportionalSetBytes`` alone.
  public static func proportionalSetBytes(pid: Int32) throws(LinuxError) -> UInt64 {
    try of(pid: pid).proportionalSetBytes
  }

  /// Bytes of address space that the process has locked or means to lock (VmLck of /proc/PID/status),
  /// without a walk of its page tables.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public static func lockedBytes(pid: Int32) throws(LinuxError) -> UInt64 {
    try read("status", of: pid)["VmLck"] ?? 0
  }

  /// Bytes of the process's page tables (VmPTE of /proc/PID/status), which stay in memory whatever is
  /// paged out.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public static func pageTableBytes(pid: Int32) throws(LinuxError) -> UInt64 {
    try read("status", of: pid)["VmPTE"] ?? 0
  }

  private static func read(_ file: String, of pid: Int32) throws(LinuxError) -> KernelTable {
    do throws(LinuxError) {
      return try KernelTable(path: "/proc/\(pid)/\(file)")
    } catch  where error.code == .notFound || error.code == .gone {
      throw LinuxError(code: .gone, message: "there is no process \(pid)", errno: error.errno)
    }
  }
}
