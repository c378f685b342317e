import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem
import Testing

/// Real swap, real control groups. One at a time: they share the host's swap.
@Suite("Paging out", .serialized)
struct MemoryPageOutTests {
  private static let size = 96 << 20

  /// Pages that the kernel may decline (in flight, or shared with a concurrent fork), and pages that a host
  /// which pages out by itself (DAMON, memory pressure) may take in between.
  private static let tolerance: UInt64 = 2 << 20

  @Test func sharedMemoryGoesToSwapIsFreedAndComesBackIntact() async throws {
    let size = Self.size
    let swap = try await SwapFile(size: 256 << 20)
    let hierarchy = try MemoryControlGroup.detect()
    let group = try hierarchy.create(at: "dormouse-test-\(getpid())-pageout")
    defer { try? group.remove() }
    let memory = try AnonymousFile.create(named: "guest", size: UInt64(size))
    // The child pays for the pages: whoever touches them first is charged.
    let filler = try Child(
      shell: "head -c \(size) /dev/urandom >/proc/self/fd/3; exec sleep 600",
      descriptors: [3: memory.rawValue], groupFiles: [group.processFile])
    try await untilTrue("the memory is filled") { try allocatedBytes(memory.rawValue) == size }
    #expect(try group.usageBytes() + Self.tolerance >= UInt64(size))

    let mapping = try SharedMapping(of: memory.rawValue, size: size)
    let before = mapping.checksum()
    let memfd = memory.rawValue
    let own = try ProcessHandle(opening: try ProcessIdentity.of(pid: getpid()))
    let descriptor = own.descriptor
    let addresses = mapping.addresses
    // Again as long as the kernel declines pages, or something else on the host brings them back: when
    // another swap area is turned off, all that lies there returns to memory.
    try await untilTrue("it is paged out") {
      try await onBlockingThread {
        try advise(descriptor, ranges: [addresses], .pageOut) { true }
        return try Residency.cachedBytes(of: memfd) <= Self.tolerance
      }
    }
    #expect(
      try Residency.allocatedAndNotSwappedBytes(of: memfd) <= Self.tolerance)
    let cost = try ProcessMemory.of(pid: getpid())
    #expect(cost.swapBytes - cost.proportionalSwapBytes + Self.tolerance >= UInt64(size))

    // The truth of MADV_PAGEOUT to a disk: the pages are unmapped, and still in memory.
    let usageInCache = try group.usageBytes()
    let freed = try await onBlockingThread { try group.dropSwapCache() }
    #expect(try group.swapCachedBytes() <= Self.tolerance)
    #expect(try group.usageBytes() < UInt64(size) / 10)
    #expect(usageInCache - min(usageInCache, try group.usageBytes()) + Self.tolerance >= freed)
    #expect(try group.currentSwapBytes() >= UInt64(size) - Self.tolerance)
    #expect(try SwapStatus.current().areas.contains { $0.path == swap.path && $0.kind == .file })
    if group.version == .v1 {
      let limit = try KernelFile.number("\(group.path)/memory.limit_in_bytes")
      #expect(limit > 1 << 60, "no limit is left behind")
    }

    // A prefetch brings back what it is asked for, and the contents are what they were.
    let part = addresses.lowerBound..<(addresses.lowerBound + UInt(16 << 20))
    try advise(descriptor, ranges: [part], .willNeed) { true }
    try await untilTrue("the prefetch is in the swap cache") {
      try group.swapCachedBytes() >= 15 << 20
    }
    let resident = try Residency.residentRanges(of: memfd, size: UInt64(size))
    // What is not resident of a file that was written in full is in swap.
    let swapped = try Residency.swappedRanges(of: memfd, in: 0..<UInt64(size))
    #expect(
      (resident + swapped).reduce(0) { $0 + $1.count } == size,
      "\(resident.count) parts in memory, \(swapped.count) in swap")
    #expect(swapped.reduce(0) { $0 + $1.count } + Int(Self.tolerance) >= size)
    #expect(resident.reduce(0) { $0 + $1.count } <= Int(Self.tolerance), "read ahead, not touched")
    #expect(mapping.checksum() == before)
    #expect(try Residency.cachedBytes(of: memfd) + Self.tolerance >= UInt64(size))
    try filler.handle.signal(SIGKILL)
    _ = try await filler.end()
    withExtendedLifetime(own) {}
    _ = consume swap
  }

  @Test func anotherProcessesAnonymousMemoryGoesToSwap() async throws {
    let swap = try await SwapFile(size: 64 << 20)
    let ready = try Pipe()
    // The shell's own heap, filled with what does not compress to nothing.
    let child = try Child(
      shell: "x=$(head -c 6000000 /dev/urandom | od -An -tx8); echo; kill -STOP $$",
      descriptors: [1: ready.writing])
    let pid = child.pid
    try #require(
      try await ReadinessMonitor.shared.wait(untilReadable: ready.reading, timeout: .seconds(20)))
    let heap = try MemoryMap.read(pid: pid).filter { $0.path == "[heap]" || $0.path.isEmpty }
      .filter { $0.writable && !$0.shared }
    let descriptor = child.handle.descriptor
    func bytes(_ count: (Range<UInt>) throws -> UInt64) rethrows -> UInt64 {
      try heap.reduce(0) { $0 + (try count($1.start..<$1.end)) }
    }
    let residentBefore = try bytes { try Residency.mappedResidentBytes(pid: pid, $0) }
    #expect(residentBefore > 12 << 20)
    _ = try await onBlockingThread {
      try advise(descriptor, ranges: heap.map { $0.start..<$0.end }, .pageOut) { true }
    }
    let resident = try bytes { try Residency.mappedResidentBytes(pid: pid, $0) }
    let swapped = try bytes { try Residency.mappedSwappedBytes(pid: pid, $0) }
    #expect(resident <= Self.tolerance)
    #expect(swapped + Self.tolerance >= residentBefore)
    #expect(try ProcessMemory.of(pid: pid).swapBytes + Self.tolerance >= residentBefore)
    _ = consume swap
  }

  private func allocatedBytes(_ file: CInt) throws -> Int {
    var status = stat()
    try checked("fstat", fstat(file, &status))
    return Int(status.st_blocks) * 512
  }

  /// Polls for something that another process or the kernel is about to do.
  private func untilTrue(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while try await !condition() {
      try #require(ContinuousClock.now < deadline, "waited in vain until \(what)")
      try await Task.sleep(for: .milliseconds(5))
    }
  }
}
