import LinuxMemory
import LinuxProcess
import LinuxSystem

/// What memory a host has and a process's control group takes, at one moment, in bytes.
public struct HostMemory: Sendable, Hashable {
  /// MemAvailable of /proc/meminfo.
  public let availableBytes: UInt64
  /// What is charged to the control group: the process's memory, its page cache and swap cache.
  public let groupBytes: UInt64

  /// Reads both.
  ///
  /// - Parameter pid: the process; its group is counted as a whole.
  public static func current(groupOf pid: Int32) throws -> HostMemory {
    HostMemory(
      availableBytes: try availableBytes(), groupBytes: try group(of: pid).usageBytes())
  }

  /// MemAvailable of /proc/meminfo alone.
  public static func availableBytes() throws -> UInt64 {
    try MemoryInformation.current().availableBytes
  }

  /// What a process has in memory, each page divided by the number of processes that map it (PSS).
  public static func proportionalBytes(of pid: Int32) throws -> UInt64 {
    try ProcessMemory.proportionalSetBytes(pid: pid)
  }

  /// What a process alone has in memory: nobody else maps it.
  public static func privateBytes(of pid: Int32) throws -> UInt64 {
    try ProcessMemory.of(pid: pid).privateBytes
  }

  /// What is in swap of the memory files that a process maps, such as its guest's RAM.
  public static func swappedFileBytes(of pid: Int32) throws -> UInt64 {
    let memory = try ProcessMemory.of(pid: pid)
    return memory.swapBytes - min(memory.swapBytes, memory.proportionalSwapBytes)
  }

  /// The page tables of a process.
  public static func pageTableBytes(of pid: Int32) throws -> UInt64 {
    try ProcessMemory.pageTableBytes(pid: pid)
  }

  /// What a process has in memory of its own: its anonymous and its shared memory, without files
  /// (/proc/PID/status).
  public static func residentBytes(of pid: Int32) throws -> UInt64 {
    var sum: UInt64 = 0
    for line in try KernelFile.text("/proc/\(pid)/status").split(separator: "\n") {
      let fields = line.split { $0 == " " || $0 == "\t" }
      guard fields.count == 3, fields[0] == "RssAnon:" || fields[0] == "RssShmem:" else { continue }
      sum += (UInt64(fields[1]) ?? 0) << 10
    }
    return sum
  }

  /// The memory control group of a process (cgroups(7): `/proc/PID/cgroup`).
  private static func group(of pid: Int32) throws -> MemoryControlGroup {
    let hierarchy = try MemoryControlGroup.detect()
    for line in try KernelFile.text("/proc/\(pid)/cgroup").split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let fits =
        hierarchy.version == .v2
        ? fields[0] == "0" : fields[1].split(separator: ",").contains("memory")
      if fits { return try hierarchy.group(at: String(fields[2].drop { $0 == "/" })) }
    }
    throw TestBedError(
      code: .malformed, message: "process \(pid) is in no memory control group")
  }
}
