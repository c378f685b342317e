import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// The page table of a process, as /proc/PID/pagemap shows it. Reading it touches none of the process's
/// pages.
public struct PageMap: ~Copyable, Sendable {
  private let file: OwnedFileDescriptor
  private let path: String

  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public init(pid: Int32) throws(LinuxError) {
    path = "/proc/\(pid)/pagemap"
    do throws(LinuxError) {
      file = OwnedFileDescriptor(
        owning: try checked("open \(path)", dormouse_open(path, O_RDONLY, 0)))
    } catch  where error.code == .notFound {
      throw LinuxError(code: .gone, message: "there is no process \(pid)", errno: error.errno)
    }
  }

  /// The parts of a range of addresses whose pages are in memory *and* in the page table, ascending,
  /// merged where they touch. After a page-out that is what the process has used since: what was only read
  /// ahead is in no page table. Of a file or a memory file the kernel maps neighbours along with a page
  /// that is read (fault-around, 64 KiB), if they are in the page cache.
  ///
  /// By PAGEMAP_SCAN (Linux 6.7), some milliseconds per GiB; by reading entry after entry on older kernels,
  /// ten times as long.
  public borrowing func presentRanges(in range: Range<UInt>) throws(LinuxError) -> [Range<UInt>] {
    var found: [Range<UInt>] = []
    var start = UInt64(range.lowerBound)
    let end = UInt64(range.upperBound)
    var pairs = [UInt64](repeating: 0, count: 2 * Self.partsPerCall)
    while start < end {
      var walked: UInt64 = 0
      let count = dormouse_scan_present_pages(
        file.rawValue, start, end, &pairs, Self.partsPerCall, &walked)
      guard count >= 0 else {
        let failure = Errno(rawValue: dormouse_errno())
        if failure == .inappropriateIOCTLForDevice { return try presentEntries(in: range) }
        throw LinuxError("scan \(path)", failure)
      }
      for index in 0..<count {
        Self.append(UInt(pairs[2 * index])..<UInt(pairs[2 * index + 1]), to: &found)
      }
      guard walked > start else { break }
      start = walked
    }
    return found
  }

  private static let partsPerCall = 1_024

  package borrowing func presentEntries(in range: Range<UInt>) throws(LinuxError) -> [Range<UInt>] {
    let page = UInt(dormouse_page_size())
    var found: [Range<UInt>] = []
    try forEachEntry(in: range) { number, entry in
      if entry >> 63 == 1 { Self.append(number * page..<(number + 1) * page, to: &found) }
    }
    return found
  }

  /// Calls with each page's number (address by page size) and entry (kernel documentation
  /// `admin-guide/mm/pagemap.rst`).
  borrowing func forEachEntry(
    in range: Range<UInt>, _ body: (UInt, UInt64) -> Void
  ) throws(LinuxError) {
    let page = UInt(dormouse_page_size())
    let end = range.upperBound / page + (range.upperBound % page == 0 ? 0 : 1)
    var next = range.lowerBound / page
    var entries = [UInt64](repeating: 0, count: 8_192)
    while next < end {
      let wanted = Int(min(UInt(entries.count), end - next))
      let count = try checked(
        "read \(path)",
        dormouse_pread(file.rawValue, &entries, wanted * 8, UInt64(next) * 8))
      // The end of the address space.
      if count < 8 { break }
      for (index, entry) in entries[..<(count / 8)].enumerated() { body(next + UInt(index), entry) }
      next += UInt(count / 8)
    }
  }

  private static func append(_ range: Range<UInt>, to found: inout [Range<UInt>]) {
    if let last = found.last, last.upperBound == range.lowerBound {
      found[found.count - 1] = last.lowerBound..<range.upperBound
    } else {
      found.append(range)
    }
  }
}
