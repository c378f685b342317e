import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem
import SuspendToSwap
import Synchronization
import Testing

/// Real memory of a real QEMU, real swap. One at a time: they share the host's swap.
@Suite("Suspending to swap", .serialized)
struct PageOutTests {
  /// Pages that the kernel may decline for a moment, and statistics that lag.
  private static let tolerance: UInt64 = 2 << 20

  /// A failure, not a skip: without swap nothing here can be shown.
  private func needSwap() throws {
    try #require(
      try SwapStatus.current().freeBytes > UInt64(HeldMemory.size) + (64 << 20),
      "these tests need some 130 MiB of free swap; run them inside scripts/lab.sh")
  }

  private func pageOut(
    _ held: HeldMemory, shouldContinue: @escaping @Sendable () -> Bool = { true }
  ) async throws -> PageOutReport {
    try await onBlockingThread {
      try PageOut.run(
        held.guestMemory(), of: held.process, group: held.group, shouldContinue: shouldContinue)
    }
  }

  @Test func memoryGoesBackToTheHostAndComesBackIntact() async throws {
    try needSwap()
    let held = try await HeldMemory()
    let size = UInt64(HeldMemory.size)
    let before = try held.checksum()
    let usage = try held.group.usageBytes()

    let report = try await pageOut(held)
    #expect(report.touchedBytes + Self.tolerance >= size)
    #expect(report.releasedFraction >= 0.97)
    #expect(report.residentBytes + report.swapCachedBytes <= Self.tolerance)
    #expect(try held.guestMemory().swappedBytes() + Self.tolerance >= size)
    // The truth is what the group no longer pays for: the swap cache included.
    let after = try held.group.usageBytes()
    #expect(usage - min(usage, after) + Self.tolerance >= report.releasedBytes)
    #expect(try held.group.swapCachedBytes() <= Self.tolerance)
    if held.group.version == .v1 {
      #expect(
        try KernelFile.number("\(held.group.path)/memory.limit_in_bytes") > 1 << 60,
        "a limit was left behind")
    }

    let part = WorkingSet(residentRanges: [0..<(8 << 20), (32 << 20)..<(40 << 20)])
    let fetched = try await onBlockingThread {
      try PageOut.prefetch(part, into: held.guestMemory(), of: held.process)
    }
    #expect(fetched == 16 << 20)
    let deadline = ContinuousClock.now + .seconds(20)
    while try held.group.swapCachedBytes() < 15 << 20 {
      try #require(ContinuousClock.now < deadline, "the prefetch brought nothing back")
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(try held.checksum() == before)
    #expect(try held.guestMemory().residentBytes() + Self.tolerance >= size)
  }

  @Test func aSecondSleepReleasesAsMuch() async throws {
    try needSwap()
    let held = try await HeldMemory()
    _ = try await pageOut(held)
    _ = try held.checksum()
    // What was only read comes back to the page cache, but into no page table.
    let second = try await pageOut(held)
    #expect(second.releasedFraction >= 0.97)
  }

  @Test func whatLittleWasTouchedSinceIsNoReasonToStayAwake() async throws {
    try needSwap()
    let held = try await HeldMemory()
    _ = try await pageOut(held)
    // Mapped by somebody else as well, so that they stay: a part of what there is, but little.
    let touched = 4 << 20
    let address = mmap(nil, touched, PROT_READ, MAP_SHARED, held.memory.rawValue, 0)
    let mapping = try #require(address == MAP_FAILED ? nil : address)
    defer { munmap(mapping, touched) }
    let sum = stride(from: 0, to: touched, by: 4096).reduce(UInt8(0)) {
      $0 &+ mapping.load(fromByteOffset: $1, as: UInt8.self)
    }
    let report = try await pageOut(held)
    #expect(report.residentBytes <= 4 << 20, "\(sum)")
    #expect(try held.guestMemory().swappedBytes() >= UInt64(HeldMemory.size - touched))
  }

  @Test func aWakeStopsIt() async throws {
    try needSwap()
    let held = try await HeldMemory()
    let questions = Atomic<Int>(0)
    let error = await #expect(throws: SuspendError.self) {
      try await pageOut(held) { questions.add(1, ordering: .relaxed).newValue < 2 }
    }
    #expect(error?.code == .interrupted)
  }

  @Test func pagesThatSomebodyElseMapsStayAndThatIsSaid() async throws {
    try needSwap()
    let held = try await HeldMemory()
    let size = HeldMemory.size
    let address = mmap(nil, size, PROT_READ, MAP_SHARED, held.memory.rawValue, 0)
    let mapping = try #require(address == MAP_FAILED ? nil : address)
    defer { munmap(mapping, size) }
    var sum: UInt8 = 0
    for offset in stride(from: 0, to: size, by: 4096) {
      sum &+= mapping.load(fromByteOffset: offset, as: UInt8.self)
    }
    let error = await #expect(throws: SuspendError.self) { try await pageOut(held) }
    #expect(error?.code == .declined, "\(sum)")
  }

  @Test func lockedMemoryIsRefused() async throws {
    let held = try await HeldMemory(filled: false, locked: true)
    expectUnpageable("locked") { _ = try held.guestMemory() }
  }

  @Test func hugePagesAreRefused() async throws {
    // Reserves none: the pool of a host is usually empty.
    let held = try await HeldMemory(options: "hugetlb=on,hugetlbsize=2M,reserve=off", filled: false)
    expectUnpageable("huge pages") { _ = try held.guestMemory() }
  }

  @Test func memoryOfAnotherSizeIsRefused() async throws {
    let held = try await HeldMemory(filled: false)
    expectUnpageable("expected") {
      _ = try held.guestMemory(expectedBytes: HeldMemory.size * 2)
    }
  }

  @Test func aProcessWithoutGuestMemoryIsRefused() throws {
    let own = try ProcessHandle(opening: try ProcessIdentity.of(pid: getpid()))
    expectUnpageable("memfd") { _ = try GuestMemory(of: own, expectedBytes: 1 << 20) }
  }

  private func expectUnpageable(_ word: String, _ body: () throws -> Void) {
    let error = #expect(throws: SuspendError.self) { try body() }
    #expect(error?.code == .unpageable)
    #expect(error?.message.contains(word) == true)
  }
}
