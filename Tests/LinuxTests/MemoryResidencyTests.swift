import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem
import SystemPackage
import Testing

@Suite("Residency")
struct MemoryResidencyTests {
  /// Writes one byte into each of the pages, and locks them: a host may page out by itself (DAMON, memory
  /// pressure), and these tests count exactly.
  private func touch(_ mapping: SharedMapping, _ pages: some Sequence<Int>) throws {
    for page in pages {
      let address = mapping.pointer?.advanced(by: page * pageSize)
      address?.storeBytes(of: 1, as: UInt8.self)
      try checked("mlock", mlock(address, pageSize))
    }
  }

  private func bytes(_ pages: Range<Int>) -> Range<UInt64> {
    UInt64(pages.lowerBound * pageSize)..<UInt64(pages.upperBound * pageSize)
  }

  @Test func whatWasWrittenIsResidentAndNothingElse() throws {
    let size = 2_000 * pageSize
    let file = try AnonymousFile.create(named: "residency", size: UInt64(size))
    let memfd = file.rawValue
    let mapping = try SharedMapping(of: memfd, size: size)
    #expect(try Residency.cachedBytes(of: memfd) == 0)
    #expect(try Residency.residentRanges(of: memfd, size: UInt64(size)) == [])

    try touch(mapping, [0, 1, 2, 10, 511, 512, 513, 1_024, 1_999])
    let expected = [0..<3, 10..<11, 511..<514, 1_024..<1_025, 1_999..<2_000].map(bytes)
    #expect(try Residency.cachedBytes(of: memfd) == UInt64(9 * pageSize))
    #expect(try Residency.allocatedAndNotSwappedBytes(of: memfd) == UInt64(9 * pageSize))
    #expect(try Residency.residentRanges(of: memfd, size: UInt64(size)) == expected)
    #expect(try Residency.mincoreRanges(of: memfd, size: UInt64(size)) == expected)
    // Locked pages and holes: neither is in swap.
    #expect(try Residency.swappedRanges(of: memfd, in: bytes(0..<2_000)) == [])

    // A part of the file, and a size within a page.
    #expect(
      try Residency.residentRanges(of: memfd, size: UInt64(10 * pageSize + 1))
        == [bytes(0..<3), bytes(10..<11)])

    try touch(mapping, 0..<2_000)
    #expect(try Residency.residentRanges(of: memfd, size: UInt64(size)) == [bytes(0..<2_000)])
    withExtendedLifetime(mapping) {}
    #expect(ftruncate(memfd, 0) == 0)
    #expect(try Residency.cachedBytes(of: memfd) == 0)
  }

  @Test func anyPatternIsFoundBothWays() throws {
    let pages = 3_000
    let file = try AnonymousFile.create(named: "pattern", size: UInt64(pages * pageSize))
    var state: UInt64 = 42
    var touched: [Int] = []
    for page in 0..<pages {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      // Long runs and scattered pages.
      if (page / 600).isMultiple(of: 2) ? state >> 62 == 0 : state >> 60 != 0 {
        touched.append(page)
      }
    }
    let mapping = try SharedMapping(of: file.rawValue, size: pages * pageSize)
    try touch(mapping, touched)
    let size = UInt64(pages * pageSize)
    let found = try Residency.residentRanges(of: file.rawValue, size: size)
    #expect(
      found.flatMap { Int($0.lowerBound) / pageSize..<Int($0.upperBound) / pageSize } == touched)
    #expect(zip(found, found.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
    #expect(try Residency.mincoreRanges(of: file.rawValue, size: size) == found)
    withExtendedLifetime(mapping) {}
  }

  @Test func whatIsNoFileIsAnError() {
    #expect(throws: LinuxError.self) { try Residency.cachedBytes(of: -1) }
    #expect(throws: LinuxError.self) { try Residency.residentRanges(of: -1, size: 4_096) }
    let gone = #expect(throws: LinuxError.self) {
      try Residency.mappedResidentBytes(pid: Int32.max, 0..<4_096)
    }
    #expect(gone?.code == .gone)
  }

  @Test func anonymousMemoryIsSeenInThePageTable() throws {
    let mapping = try SharedMapping(of: nil, size: 64 * pageSize)
    // Transparent huge pages would make neighbours resident.
    madvise(mapping.pointer, mapping.addresses.count, MADV_NOHUGEPAGE)
    #expect(try Residency.mappedResidentBytes(pid: getpid(), mapping.addresses) == 0)
    try touch(mapping, 8..<18)
    #expect(
      try Residency.mappedResidentBytes(pid: getpid(), mapping.addresses)
        == UInt64(10 * pageSize))
    let part = mapping.addresses.lowerBound..<(mapping.addresses.lowerBound + UInt(9 * pageSize))
    #expect(try Residency.mappedResidentBytes(pid: getpid(), part) == UInt64(pageSize))
    #expect(try Residency.mappedSwappedBytes(pid: getpid(), mapping.addresses) == 0)
    withExtendedLifetime(mapping) {}
  }

  @Test func whatAProcessCostsIsAdded() async throws {
    let ready = try Pipe()
    let child = try Child(
      shell: "x=$(head -c 6000000 /dev/urandom | od -An -tx8); echo; kill -STOP $$",
      descriptors: [1: ready.writing])
    try #require(
      try await ReadinessMonitor.shared.wait(untilReadable: ready.reading, timeout: .seconds(20)))
    let cost = try ProcessMemory.of(pid: child.pid)
    #expect(cost.proportionalSetBytes > 12 << 20)
    #expect(cost.proportionalSetBytes < 200 << 20)
    #expect(cost.residentBytes >= cost.proportionalSetBytes)
    #expect(cost.lockedBytes == 0)
    #expect(try ProcessMemory.proportionalSetBytes(pid: child.pid) > 12 << 20)
    let error = #expect(throws: LinuxError.self) { try ProcessMemory.of(pid: Int32.max) }
    #expect(error?.code == .gone)
  }

  @Test func lockedMemoryIsSeen() async throws {
    let child = try Child(shell: "exec sleep 60")
    #expect(try ProcessMemory.lockedBytes(pid: child.pid) == 0)
    let mapping = try SharedMapping(of: nil, size: 1 << 20)
    #expect(mlock(mapping.pointer, 1 << 20) == 0)
    #expect(try ProcessMemory.lockedBytes(pid: getpid()) >= 1 << 20)
    withExtendedLifetime(mapping) {}
  }
}

@Suite("The page table of a process")
struct PageMapTests {
  @Test func whatWasTouchedIsPresentAndNothingElse() throws {
    let page = 4096
    let size = 64 * page
    let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    let memory = try #require(address == MAP_FAILED ? nil : address)
    defer { munmap(memory, size) }
    for index in [3, 4, 5, 40] {
      memory.storeBytes(of: 1, toByteOffset: index * page, as: UInt8.self)
    }
    let start = UInt(bitPattern: memory)
    func pages(_ range: Range<UInt>) -> Range<UInt> {
      start + range.lowerBound * UInt(page)..<start + range.upperBound * UInt(page)
    }
    let map = try PageMap(pid: getpid())
    let range = start..<start + UInt(size)
    #expect(try map.presentRanges(in: range) == [pages(3..<6), pages(40..<41)])
    // What kernels without PAGEMAP_SCAN are asked.
    #expect(try map.presentEntries(in: range) == [pages(3..<6), pages(40..<41)])
  }

  @Test func aProcessThatIsGoneIsSaidToBe() {
    let error = #expect(throws: LinuxError.self) { _ = try PageMap(pid: .max) }
    #expect(error?.code == .gone)
  }
}
