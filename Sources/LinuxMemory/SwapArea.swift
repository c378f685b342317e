import CLinux
public import LinuxSystem

/// One place that the host swaps to: a line of /proc/swaps (proc(5)).
public struct SwapArea: Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    case file
    case partition
    /// Compressed memory: frees at once, takes a part of the gain itself.
    case zram
  }

  /// The file or device; a removed file has ` (deleted)` at its end.
  public let path: String
  public let kind: Kind
  public let sizeBytes: UInt64
  public let usedBytes: UInt64
  /// Areas of higher priority fill first.
  public let priority: Int
  /// Whether what is swapped out is unreadable once the host is off: the device, or the one under the file,
  /// is dm-crypt all the way down; zram never leaves memory. nil when that cannot be found out, such as for
  /// network file systems.
  public let isEncrypted: Bool?

  /// All active areas, in the kernel's order.
  public static func all() throws(LinuxError) -> [SwapArea] {
    let text: String
    do throws(LinuxError) {
      text = try KernelFile.text("/proc/swaps")
    } catch  where error.code == .notFound {
      // A kernel without swap.
      return []
    }
    return try parse(text) { path in BlockDeviceEncryption(system: "/sys").isEncrypted(path: path) }
  }

  /// - Parameter isEncrypted: asked for the path of each area that is not zram.
  package static func parse(
    _ text: String, isEncrypted: (String) -> Bool?
  ) throws(LinuxError) -> [SwapArea] {
    var areas: [SwapArea] = []
    for line in text.split(separator: "\n").dropFirst() {
      let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard fields.count == 5, let size = UInt64(fields[2]), let used = UInt64(fields[3]),
        let priority = Int(fields[4])
      else {
        throw LinuxError(
          code: .malformed, message: "/proc/swaps has a line that is not of the form of proc(5)")
      }
      let path = EscapedPath.decode(fields[0])
      let isZRAM = fields[1] == "partition" && path.hasPrefix("/dev/zram")
      areas.append(
        SwapArea(
          path: path, kind: isZRAM ? .zram : fields[1] == "file" ? .file : .partition,
          sizeBytes: size.multipliedReportingOverflow(by: 1024).partialValue,
          usedBytes: used.multipliedReportingOverflow(by: 1024).partialValue,
          priority: priority, isEncrypted: isZRAM ? true : isEncrypted(path)))
    }
    return areas
  }
}
