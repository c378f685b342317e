import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// A group of processes whose memory is counted, and can be reclaimed, together (cgroups(7); kernel
/// documentation `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1/memory.rst`).
///
/// A value of this type names the group; it does not own it. The group lasts until ``remove()``.
public struct MemoryControlGroup: Hashable, Sendable {
  public let version: ControlGroupHierarchy.Version
  /// The group's directory.
  public let path: String

  package init(version: ControlGroupHierarchy.Version, path: String) {
    self.version = version
    self.path = path
  }

  /// Finds where memory control groups live on this host.
  ///
  /// - Parameter root: the directory in which /proc and /sys are looked up, empty for the real ones.
  /// - Throws: ``LinuxError/Code/unsupported`` when this host has none.
  public static func detect(root: String = "") throws(LinuxError) -> ControlGroupHierarchy {
    try ControlGroupHierarchy.detect(root: root)
  }

  /// The file that a process enters the group by: written with its pid, or with 0 by itself. Memory that
  /// it has touched before stays charged to the group it came from.
  public var processFile: String { "\(path)/cgroup.procs" }

  /// The processes in the group, by number; none when the group does not exist.
  public func processes() throws(LinuxError) -> [Int32] {
    do throws(LinuxError) {
      return try KernelFile.text(processFile).split(separator: "\n").compactMap { Int32($0) }
    } catch  where error.code == .notFound || error.code == .gone {
      return []
    }
  }

  // MARK: - Counting

  /// Bytes charged to the group: its processes' anonymous memory, page cache, swap cache, kernel memory.
  public func usageBytes() throws(LinuxError) -> UInt64 {
    try KernelFile.number(
      version == .v2 ? "\(path)/memory.current" : "\(path)/memory.usage_in_bytes")
  }

  /// Bytes in memory although swap holds a copy: what is paged out and not freed yet, or was read ahead
  /// from swap.
  public func swapCachedBytes() throws(LinuxError) -> UInt64 {
    try statistic("swapcached")
  }

  /// Bytes of swap that the group occupies; 0 where the kernel does not count it.
  public func currentSwapBytes() throws(LinuxError) -> UInt64 {
    if version == .v1 { return try statistic("swap") }
    do {
      return try KernelFile.number("\(path)/memory.swap.current")
    } catch  where error.code == .notFound {
      return 0
    }
  }

  private func statistic(_ name: String) throws(LinuxError) -> UInt64 {
    // In version 1 the plain names leave out the groups below.
    let key = version == .v1 ? "total_\(name)" : name
    for line in try KernelFile.text("\(path)/memory.stat").split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count == 2, fields[0] == key, let value = UInt64(fields[1]) { return value }
    }
    return 0
  }

  // MARK: - Reclaiming

  /// Frees the swap cache: memory whose contents swap already holds.
  ///
  /// `MADV_PAGEOUT` to a file or a partition writes pages and leaves them in memory, in the swap cache,
  /// until something reclaims them. This waits until they are written, then has the kernel reclaim just as
  /// many bytes in this group. Those pages go first: the end of their writing puts them at the end of the
  /// list that reclaim takes from. Done when less than 1 % is left, or nothing more goes.
  ///
  /// Blocks for up to the time of the writing: call it on a thread of its own. In version 1 the group's
  /// limit is lowered for some milliseconds; see ``clearLimits()``.
  ///
  /// - Parameters:
  ///   - time: how long to wait, in all, for pages that are still being written.
  ///   - shouldContinue: asked between rounds; when false, the rest stays as it is.
  /// - Returns: bytes by which the swap cache became smaller.
  @discardableResult
  public func dropSwapCache(
    settlingFor time: Duration = .seconds(30), shouldContinue: () -> Bool = { true }
  ) throws(LinuxError) -> UInt64 {
    try dropSwapCache(
      measuredBy: swapCachedBytes, settlingFor: time, shouldContinue: shouldContinue)
  }

  /// As above, for a part of the group's swap cache: what its processes have there besides is left alone.
  ///
  /// - Parameter remaining: counts the bytes that are to go.
  @discardableResult
  public func dropSwapCache(
    measuredBy remaining: () throws(LinuxError) -> UInt64,
    settlingFor time: Duration = .seconds(30), shouldContinue: () -> Bool = { true }
  ) throws(LinuxError) -> UInt64 {
    let deadline = ContinuousClock.now + time
    let before = try remaining()
    let enough = max(before / 100, Self.negligible)
    var left = before
    var fruitlessRounds = 0
    while left > enough, shouldContinue() {
      try waitForWriteback(below: max(left / 100, Self.negligible), until: deadline, shouldContinue)
      guard shouldContinue() else { break }
      try reclaim(left)
      let now = try remaining()
      fruitlessRounds = now + enough > left ? fruitlessRounds + 1 : 0
      left = now
      guard fruitlessRounds <= Self.fruitlessPauses.count else { break }
      // What is still being written cannot be reclaimed, and the statistics that tell of it come late.
      if fruitlessRounds > 0 { usleep(Self.fruitlessPauses[fruitlessRounds - 1]) }
    }
    return before - min(before, left)
  }

  /// What is not worth another round: statistics lag by about this much.
  private static let negligible: UInt64 = 256 << 10
  /// After rounds that brought nothing, in microseconds; the round after the last one is the last.
  private static let fruitlessPauses: [UInt32] = [10_000, 40_000, 160_000]
  private static let pollMicroseconds: UInt32 = 2_000

  private func waitForWriteback(
    below bytes: UInt64, until deadline: ContinuousClock.Instant, _ shouldContinue: () -> Bool
  ) throws(LinuxError) {
    while try statistic("writeback") > bytes, ContinuousClock.now < deadline, shouldContinue() {
      usleep(Self.pollMicroseconds)
    }
  }

  private func reclaim(_ bytes: UInt64) throws(LinuxError) {
    switch version {
    case .v1: try reclaimByLimit(bytes)
    // Anonymous memory only; some kernels know a number up to 200 only.
    case .v2:
      try reclaimBySize(bytes, preferences: [" swappiness=max", " swappiness=200", ""])
    }
  }

  /// Version 1 knows no such order, but a limit below the usage makes the writer of the limit reclaim down
  /// to it. It takes effect only once that has succeeded.
  private func reclaimByLimit(_ bytes: UInt64) throws(LinuxError) {
    let usage = try usageBytes()
    // Room for what is charged between the reading and the end of the reclaim.
    let limit = usage - min(usage, bytes) + Self.margin
    guard limit < usage else { return }
    var failure: LinuxError?
    do throws(LinuxError) {
      try writeLimit("\(limit)")
    } catch  where error.errno == .resourceBusy || error.errno == .interrupted {
      // Not all could be reclaimed; what could be, was.
    } catch {
      failure = error
    }
    try clearLimits()
    if let failure { throw failure }
  }

  private static let margin: UInt64 = 256 << 10

  /// Older kernels know no preference at all.
  private func reclaimBySize(_ bytes: UInt64, preferences: [String]) throws(LinuxError) {
    for preference in preferences {
      do throws(LinuxError) {
        try KernelFile.write("\(bytes)\(preference)", to: "\(path)/memory.reclaim")
        return
      } catch  where error.errno == .invalidArgument && !preference.isEmpty {
        continue
      } catch  where error.errno == .resourceTemporarilyUnavailable || error.errno == .interrupted {
        // Not all could be reclaimed; what could be, was.
        return
      } catch  where error.code == .notFound {
        throw LinuxError(
          code: .unsupported,
          message:
            "this kernel cannot reclaim a control group's memory (memory.reclaim, Linux 5.19)",
          errno: error.errno)
      }
    }
  }

  private func writeLimit(_ limit: String) throws(LinuxError) {
    try KernelFile.write(limit, to: "\(path)/memory.limit_in_bytes")
  }

  /// Frees the page cache of files that the group's processes have read or written, as far as it is on the
  /// disk. Who needs it reads it again.
  ///
  /// Call it when little else is left in the group: version 1 cannot be told what to reclaim.
  public func dropFileCache() throws(LinuxError) {
    let bytes = try statistic("inactive_file") + statistic("active_file")
    guard bytes > Self.negligible else { return }
    switch version {
    case .v1: try reclaimByLimit(bytes)
    case .v2: try reclaimBySize(bytes, preferences: [" swappiness=0", ""])
    }
  }

  /// Takes back the limit that a ``dropSwapCache(settlingFor:shouldContinue:)`` of an earlier life may have
  /// left in a group of version 1. Harmless at any time; call it for every group that is found at start.
  public func clearLimits() throws(LinuxError) {
    if version == .v1 { try writeLimit("-1") }
  }

  // MARK: - End

  /// Removes the group; one that does not exist is fine.
  ///
  /// - Throws: EBUSY while processes are in it.
  public func remove() throws(LinuxError) {
    do throws(Errno) {
      try checked(rmdir(path))
    } catch .noSuchFileOrDirectory {
      return
    } catch {
      throw LinuxError("remove the control group \(path)", error)
    }
  }
}
