public import LinuxSystem

/// The host's memory at one moment (/proc/meminfo, proc(5)). All in bytes; what this kernel does not show
/// is 0.
public struct MemoryInformation: Hashable, Sendable {
  public let totalBytes: UInt64
  public let freeBytes: UInt64
  /// What programs could still get without swapping, by the kernel's estimate.
  public let availableBytes: UInt64
  public let swapTotalBytes: UInt64
  public let swapFreeBytes: UInt64
  /// Memory whose contents swap holds as well: paged out and not yet freed, or read ahead.
  public let swapCachedBytes: UInt64
  /// Shared memory and tmpfs: where guest RAM on memfds counts.
  public let sharedMemoryBytes: UInt64
  /// Memory that zswap takes for what it has compressed.
  public let zswapPoolBytes: UInt64
  /// What zswap has compressed, at its original size.
  public let zswappedBytes: UInt64

  public static func current() throws(LinuxError) -> MemoryInformation {
    let path = "/proc/meminfo"
    guard let information = MemoryInformation(parsing: try KernelFile.text(path)) else {
      throw LinuxError(
        code: .malformed, message: "\(path) shows neither total nor available memory")
    }
    return information
  }

  package init?(parsing text: String) {
    let table = KernelTable(parsing: text)
    guard let total = table["MemTotal"], let available = table["MemAvailable"] else { return nil }
    totalBytes = total
    availableBytes = available
    freeBytes = table["MemFree"] ?? 0
    swapTotalBytes = table["SwapTotal"] ?? 0
    swapFreeBytes = table["SwapFree"] ?? 0
    swapCachedBytes = table["SwapCached"] ?? 0
    sharedMemoryBytes = table["Shmem"] ?? 0
    zswapPoolBytes = table["Zswap"] ?? 0
    zswappedBytes = table["Zswapped"] ?? 0
  }
}
