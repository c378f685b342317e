import LinuxMemory
import LinuxProcess

/// What a process costs, at one moment.
public struct ProcessUse: Sendable, Hashable {
  /// Its memory, each page divided by the number of processes that map it (PSS). In bytes.
  public let proportionalBytes: UInt64
  /// Of all its threads, since it began.
  public let processorTime: Duration

  /// Reads both from /proc.
  public static func current(of pid: Int32) throws -> ProcessUse {
    ProcessUse(
      proportionalBytes: try ProcessMemory.proportionalSetBytes(pid: pid),
      processorTime: try ProcessInspection.processorTime(of: pid))
  }
}
