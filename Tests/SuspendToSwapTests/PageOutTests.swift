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

    #expect(try held.checksum() == before)
    #expect(try held.guestMemory().residentBytes() + Self.tolerance >= size)
  }

  @Test func whatAWakeUsesIsRecordedAndReadAhead() async throws {
    try needSwap()
    let held = try await HeldMemory()
    let place = try held.guestMemory().place
    let start = try #require(place.addresses.first).lowerBound
    // The second of the two parts was used first.
    let used = [start + (40 << 20)..<start + (44 << 20), start + (8 << 20)..<start + (9 << 20)]
    let record = WakeRecord(
      parts: zip(used, 0...).map { WakeRecord.Part(addresses: $0, period: $1, misses: 0) })
    _ = try await onBlockingThread {
      try PageOut.run(
        held.guestMemory(), record: record, of: held.process, group: held.group,
        shouldContinue: { true })
    }
    let plan = try WakePlan(record: record, memory: place, of: held.process)
    let done = try await onBlockingThread {
      let done = try Prefetch.guest(plan, from: 0, of: held.process)
      #expect(try Prefetch.guest(plan, from: done, of: held.process) == done, "there is no more")
      return done
    }
    #expect(done == 5 << 20)
    let ranges = try Residency.residentRanges(
      of: held.memory.rawValue, size: UInt64(HeldMemory.size))
    #expect(ranges.contains { $0.contains(40 << 20) && $0.contains(44 << 20 - 4096) })
    #expect(ranges.contains { $0.contains(8 << 20) && $0.contains(9 << 20 - 4096) })
    // Read ahead and used by nobody, it is in no page table; QEMU itself has done nothing either.
    var recorder = WakeRecorder(plan: plan, of: held.process)
    try recorder.endPeriod()
    #expect(recorder.record.parts.prefix(2) == record.parts[...])
  }

  @Test func allComesBackInPortionsAndHolesStayHoles() async throws {
    try needSwap()
    let held = try await HeldMemory()
    let place = try held.guestMemory().place
    let hole = 8 << 20
    try await held.punchHole(at: hole, bytes: hole)
    let paged = try await pageOut(held)
    var recorder = WakeRecorder(
      plan: try WakePlan(record: .empty, memory: place, of: held.process), of: held.process)
    let portions = try await onBlockingThread {
      var portions: [SwapIn.Portion] = []
      var next: UInt64? = 0
      while let start = next, portions.count < 1_000 {
        portions.append(try SwapIn.portion(place, from: start, of: held.process))
        next = portions[portions.count - 1].next
      }
      return portions
    }
    #expect(portions.allSatisfy { $0.readBytes <= SwapIn.portionBytes })
    #expect(portions.last?.next == nil)
    let read = portions.reduce(0) { $0 + $1.readBytes }
    #expect(read + Self.tolerance >= paged.releasedBytes && read <= paged.touchedBytes)
    let expected = UInt64(HeldMemory.size - hole)
    let resident = try held.guestMemory().residentBytes()
    #expect(resident <= expected && resident + Self.tolerance >= expected)
    // Nobody has used it.
    try recorder.endPeriod()
    let used = recorder.record.order.filter { range in
      place.addresses.contains { $0.overlaps(range) }
    }
    #expect(used.isEmpty)
  }

  @Test func whatNobodyAsksForTakesNoMemoryThatOthersMayNeed() throws {
    func memory(total: UInt64, available: UInt64) throws -> MemoryInformation {
      try #require(
        MemoryInformation(
          parsing: "MemTotal: \(total << 10) kB\nMemAvailable: \(available << 10) kB\n"))
    }
    #expect(SwapIn.isAffordable(try memory(total: 16_384, available: 2_049)))
    #expect(!SwapIn.isAffordable(try memory(total: 16_384, available: 2_048)))
    #expect(SwapIn.isAffordable(try memory(total: 1_024, available: 257)))
    #expect(!SwapIn.isAffordable(try memory(total: 1_024, available: 256)))
  }

  @Test func theProcessItselfIsPagedOutAndLivesOn() async throws {
    try needSwap()
    let held = try await HeldMemory(filled: false)
    let place = try held.guestMemory().place
    _ = try await pageOut(held)
    let report = try await onBlockingThread {
      try PageOut.runOwn(
        beside: place, record: .empty, keeping: true, of: held.process, group: held.group,
        shouldContinue: { true })
    }
    #expect(report.releasedBytes > 4 << 20)
    // Its own; pages of the program that others run, too, stay mapped.
    #expect(try ProcessMemory.of(pid: held.process.identity.pid).privateBytes < 4 << 20)
    #expect(try held.group.swapCachedBytes() <= Self.tolerance)
    #expect(held.process.identity.isAlive)
    let stopped = #expect(throws: SuspendError.self) {
      try PageOut.runOwn(
        beside: place, record: .empty, keeping: true, of: held.process, group: held.group,
        shouldContinue: { false })
    }
    #expect(stopped?.code == .interrupted)
  }

  @Test func aSecondSleepReleasesAsMuch() async throws {
    try needSwap()
    let held = try await HeldMemory()
    _ = try await pageOut(held)
    _ = try held.checksum()
    // What was only read comes back to the page cache, but into no page table.
    let second = try await pageOut(held)
    #expect(second.releasedFraction >= 0.97, "\(second)")
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
