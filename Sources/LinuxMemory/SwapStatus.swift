public import LinuxSystem

/// The host's swap as a whole, at one moment. All in bytes.
public struct SwapStatus: Hashable, Sendable {
  public let areas: [SwapArea]
  /// Whether pages are compressed in memory before they go to an area (module zswap).
  public let zswapEnabled: Bool
  /// Memory that zswap takes.
  public let zswapPoolBytes: UInt64
  /// Memory that the zram areas take (`mem_used_total` of mm_stat).
  public let zramPoolBytes: UInt64

  package init(
    areas: [SwapArea], zswapEnabled: Bool, zswapPoolBytes: UInt64, zramPoolBytes: UInt64
  ) {
    self.areas = areas
    self.zswapEnabled = zswapEnabled
    self.zswapPoolBytes = zswapPoolBytes
    self.zramPoolBytes = zramPoolBytes
  }

  public var totalBytes: UInt64 { areas.reduce(0) { $0 + $1.sizeBytes } }
  public var freeBytes: UInt64 {
    areas.reduce(0) { $0 + $1.sizeBytes - min($1.sizeBytes, $1.usedBytes) }
  }
  /// Memory that compressed swap takes, which is to be subtracted from what paging out has brought.
  public var poolBytes: UInt64 { zswapPoolBytes + zramPoolBytes }

  public static func current() throws(LinuxError) -> SwapStatus {
    let areas = try SwapArea.all()
    let zswap = try? KernelFile.text("/sys/module/zswap/parameters/enabled", limit: 4_096)
    var zramPoolBytes: UInt64 = 0
    for area in areas where area.kind == .zram {
      zramPoolBytes += try zramPool(of: area)
    }
    return SwapStatus(
      areas: areas, zswapEnabled: zswap?.first == "Y",
      zswapPoolBytes: try MemoryInformation.current().zswapPoolBytes,
      zramPoolBytes: zramPoolBytes)
  }

  /// The third number of mm_stat (kernel documentation `admin-guide/blockdev/zram.rst`).
  private static func zramPool(of area: SwapArea) throws(LinuxError) -> UInt64 {
    let path = "/sys/block/\(area.path.dropFirst("/dev/".count))/mm_stat"
    let fields = try KernelFile.text(path, limit: 4_096).split { $0 == " " || $0 == "\n" }
    guard fields.count >= 3, let used = UInt64(fields[2]) else {
      throw LinuxError(
        code: .malformed, message: "\(path) is not of the form that zram.rst gives")
    }
    return used
  }
}
