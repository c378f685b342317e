import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// How much of a file or of a process's memory is in RAM.
public enum Residency {
  /// Bytes of a memfd that are in the page cache.
  ///
  /// By cachestat(2) (Linux 6.5), on older kernels by what is allocated less what the file has in swap.
  /// Either way, pages that are paged out do not count from the moment that they are unmapped, even while
  /// the swap cache still holds them; that memory is free only when
  /// ``MemoryInformation/swapCachedBytes`` has fallen too.
  public static func cachedBytes(of memfd: CInt) throws(LinuxError) -> UInt64 {
    if let pages = try cachedPages(of: memfd, 0..<0) {
      return pages * UInt64(dormouse_page_size())
    }
    return try allocatedAndNotSwappedBytes(of: memfd)
  }

  /// The parts of a memfd that are in the page cache, as ascending byte offsets in whole pages, merged
  /// where they touch. What was only read ahead from swap and not touched is left out.
  ///
  /// On kernels without cachestat(2) it is not: there this uses mincore(2) on a short-lived mapping, which
  /// faults nothing in but counts pages in the swap cache.
  ///
  /// Takes some 0.1 s per GiB at worst; call it on a thread that may block.
  ///
  /// - Parameter size: bytes to look at, from the start.
  public static func residentRanges(
    of memfd: CInt, size: UInt64
  ) throws(LinuxError) -> [Range<UInt64>] {
    let page = UInt64(dormouse_page_size())
    return try residentRanges(of: memfd, in: 0..<((size + page - 1) / page * page))
  }

  /// The parts of a range of a memfd, given in whole pages, that have content and are not in the page cache:
  /// they are in swap, and in memory at most as something read ahead. Reads nothing from swap.
  ///
  /// Moves the descriptor's position.
  public static func swappedRanges(
    of memfd: CInt, in range: Range<UInt64>
  ) throws(LinuxError) -> [Range<UInt64>] {
    var found: [Range<UInt64>] = []
    var start = range.lowerBound
    while start < range.upperBound, let data = try nextData(of: memfd, from: start) {
      let content = data.clamped(to: range)
      var swapped = content.lowerBound
      for cached in try residentRanges(of: memfd, in: content) {
        if swapped < cached.lowerBound { append(swapped..<cached.lowerBound, to: &found) }
        swapped = cached.upperBound
      }
      if swapped < content.upperBound { append(swapped..<content.upperBound, to: &found) }
      start = data.upperBound
    }
    return found
  }

  /// nil when there is no content any more. To a memfd what is in swap is content, too.
  private static func nextData(
    of memfd: CInt, from start: UInt64
  ) throws(LinuxError) -> Range<UInt64>? {
    var end: Int64 = 0
    let first = dormouse_next_data(memfd, Int64(clamping: start), &end)
    if first >= 0 { return UInt64(first)..<UInt64(max(first, end)) }
    let failure = Errno(rawValue: dormouse_errno())
    if failure == .noSuchAddressOrDevice { return nil }
    throw LinuxError("look for the content of a file", failure)
  }

  private static func residentRanges(
    of memfd: CInt, in range: Range<UInt64>
  ) throws(LinuxError) -> [Range<UInt64>] {
    guard !range.isEmpty else { return [] }
    let page = UInt64(dormouse_page_size())
    guard try cachedPages(of: memfd, range.lowerBound..<(range.lowerBound + page)) != nil else {
      return try mincoreRanges(of: memfd, from: range.lowerBound, size: range.upperBound)
    }
    var found: [Range<UInt64>] = []
    var start = range.lowerBound
    let end = range.upperBound
    while start < end {
      let stop = min(start + window, end)
      try search(memfd, start..<stop, page, &found)
      start = stop
    }
    return found
  }

  /// Bytes of a range of a process's addresses that are in RAM and in its page table
  /// (/proc/PID/pagemap). Right for anonymous memory. Of shared memory it sees only what this process
  /// itself has touched since.
  public static func mappedResidentBytes(
    pid: Int32, _ range: Range<UInt>
  ) throws(LinuxError) -> UInt64 {
    try mappedBytes(pid: pid, range, bit: 63)
  }

  /// Bytes of a range of a process's addresses that are in swap (/proc/PID/pagemap). Anonymous memory
  /// only: shared memory in swap is not in the page table.
  public static func mappedSwappedBytes(
    pid: Int32, _ range: Range<UInt>
  ) throws(LinuxError) -> UInt64 {
    try mappedBytes(pid: pid, range, bit: 62)
  }

  // MARK: - cachestat

  /// The size of the first questions: whole windows are often all in or all out.
  private static let window: UInt64 = 2 << 20

  /// Pages in the cache; nil when this kernel cannot say. An empty range stands for the whole file.
  private static func cachedPages(
    of memfd: CInt, _ range: Range<UInt64>
  ) throws(LinuxError) -> UInt64? {
    do throws(Errno) {
      return UInt64(
        try checked(dormouse_cached_pages(memfd, range.lowerBound, UInt64(range.count))))
    } catch .noFunction, .notSupported {
      return nil
    } catch {
      throw LinuxError("count the cached pages of a file", error)
    }
  }

  /// Halves what is neither all in nor all out.
  private static func search(
    _ memfd: CInt, _ range: Range<UInt64>, _ page: UInt64, _ found: inout [Range<UInt64>]
  ) throws(LinuxError) {
    let pages = UInt64(range.count) / page
    let cached = try cachedPages(of: memfd, range) ?? 0
    if cached == 0 { return }
    if cached >= pages {
      append(range, to: &found)
      return
    }
    let middle = range.lowerBound + pages / 2 * page
    try search(memfd, range.lowerBound..<middle, page, &found)
    try search(memfd, middle..<range.upperBound, page, &found)
  }

  private static func append(_ range: Range<UInt64>, to found: inout [Range<UInt64>]) {
    if let last = found.last, last.upperBound == range.lowerBound {
      found[found.count - 1] = last.lowerBound..<range.upperBound
    } else {
      found.append(range)
    }
  }

  // MARK: - mincore

  private static let mappingBytes: UInt64 = 1 << 30

  package static func mincoreRanges(
    of memfd: CInt, from first: UInt64 = 0, size: UInt64
  ) throws(LinuxError) -> [Range<UInt64>] {
    let page = UInt64(dormouse_page_size())
    var found: [Range<UInt64>] = []
    var pages = [UInt8](repeating: 0, count: Int(min(size, mappingBytes) / page) + 1)
    var start = first
    while start < size {
      let length = Int(min(mappingBytes, size - start))
      let mapping = try MappedFile(
        memfd, "a file", from: start, size: UInt64(length), for: .reading)
      try checked("mincore", dormouse_mincore(mapping.bytes.baseAddress, length, &pages))
      for index in 0..<((length + Int(page) - 1) / Int(page)) where pages[index] & 1 == 1 {
        let offset = start + UInt64(index) * page
        append(offset..<(offset + page), to: &found)
      }
      start += UInt64(length)
    }
    return found
  }

  // MARK: - smaps

  /// For a whole shared mapping of a memory file, smaps (proc(5)) shows how much of the *file* is in swap,
  /// whoever touched it. So a short-lived mapping of our own is enough.
  package static func allocatedAndNotSwappedBytes(of memfd: CInt) throws(LinuxError) -> UInt64 {
    var status = stat()
    try checked("fstat", fstat(memfd, &status))
    guard status.st_size > 0 else { return 0 }
    let mapping = try MappedFile(
      memfd, "a file", size: UInt64(status.st_size), for: .reading)
    let path = "/proc/self/smaps"
    let start = String(mapping.addresses.lowerBound, radix: 16) + "-"
    let lines = try KernelFile.text(path, limit: 64 << 20).split(separator: "\n")
    guard let header = lines.firstIndex(where: { $0.hasPrefix(start) }),
      let swapped = KernelTable(lines: lines[(header + 1)...].prefix(30))["Swap"]
    else {
      throw LinuxError(code: .malformed, message: "\(path) does not show a mapping of this process")
    }
    let allocated = UInt64(status.st_blocks) * 512
    return allocated - min(allocated, swapped)
  }

  // MARK: - pagemap

  private static func mappedBytes(
    pid: Int32, _ range: Range<UInt>, bit: UInt64
  ) throws(LinuxError) -> UInt64 {
    let map = try PageMap(pid: pid)
    var counted: UInt64 = 0
    try map.forEachEntry(in: range) { _, entry in
      if entry >> bit & 1 == 1 { counted += 1 }
    }
    return counted * UInt64(dormouse_page_size())
  }
}
