import API
import FoundationEssentials
import Glibc
import TestBed
import Testing

/// The second stage of a sleep: QEMU's own memory in swap, too, and what wakes use read ahead.
@Suite(
  .serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure,
  .scene("deep", memoryMegabytes: 384))
struct DeepSleepTests {
  static let patience = Duration.seconds(10)
  /// What a sleeping QEMU alone may have in memory, in bytes. What other QEMUs map as well, such as its
  /// program, the kernel does not page out.
  static let residentLimit: UInt64 = 4 << 20
  /// So long a woken machine runs until it sleeps again: what it uses by then is in the record.
  static let recording = Duration.milliseconds(2_500)

  let scene: Scene

  init() async throws {
    scene = try Scene.current()
    if try await scene.machine().state == .asleep { _ = try await scene.api.wake(scene.name) }
  }

  @Test("QEMU goes as well, stays away, and comes back at once")
  func costsNextToNothing() async throws {
    try await restart()
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8))
    let awake = try await residentBytes()
    let report = try await sleepDeeply()
    #expect(try #require(report.qemuReleasedBytes) > 8 << 20)
    #expect(report.netGainBytes > Int64(report.releasedBytes))
    let asleep = try await residentBytes()
    print("QEMU: \(awake >> 10) KiB awake, \(asleep >> 10) KiB asleep")
    #expect(asleep <= Self.residentLimit)
    #expect(try #require(report.processResidentBytes) < awake / 4)
    // Whoever asks QEMU for something brings it back.
    try await Task.sleep(for: .seconds(3))
    _ = try await scene.machine()
    #expect(try await residentBytes() <= asleep + 256 << 10)
    try await echo.echo(Array("payload".utf8), within: Self.patience)
    try await scene.expectReachable()

    try await Task.sleep(for: Self.recording)
    #expect(try await prefetchedAtNextWake() > 1 << 20)
  }

  @Test("What a wake uses is remembered by the next daemon")
  func recordSurvivesTheDaemon() async throws {
    try await restart()
    try await makeRecord()
    _ = try await sleepDeeply()
    try await scene.daemon.kill()
    try await scene.daemon.start()
    #expect(try await scene.wait(for: .asleep).sleep?.qemuReleasedBytes != nil)
    #expect(try await prefetchedByWaking() > 1 << 20)
    try await scene.expectReachable()
  }

  @Test("A record that is damaged, another's or huge is no obstacle", arguments: 0..<3)
  func uselessRecord(kind: Int) async throws {
    try await restart()
    try await makeRecord()
    let path = scene.daemon.wakeRecord(of: scene.name)
    let url = URL(filePath: path)
    var bytes = [UInt8](try Data(contentsOf: url))
    switch kind {
    case 0: bytes[bytes.count / 2] ^= 1
    // The number of the process.
    case 1: bytes[8] ^= 1
    default: bytes = [UInt8](repeating: 0x44, count: 64 << 20)
    }
    try Data(bytes).write(to: url)
    _ = try await sleepDeeply()
    #expect(try await prefetchedByWaking() == 0)
    try await scene.expectReachable()
    // The wake has made a new one.
    try await Task.sleep(for: Self.recording)
    #expect(try await prefetchedAtNextWake() > 1 << 20)
  }

  @Test("Swap that fills up while QEMU's own memory goes: the VM ends up awake")
  func swapFull() async throws {
    try await restart(environment: ["DORMOUSE_FAILPOINTS": "deepen.pagingOut=halt"])
    let daemon = try #require(await scene.daemon.pid)
    let hog = SwapHog()
    let mark = try await scene.eventMark()
    do {
      try await hog.fill(leavingFree: scene.memory().groupBytes + 192 << 20)
      async let asleep = try? scene.sleep(within: .seconds(30))
      try await eventually("the daemon to halt", within: .seconds(20), every: .milliseconds(10)) {
        try isHalted(daemon) ? () : nil
      }
      try await hog.fill(leavingFree: 0)
      kill(daemon, SIGCONT)
      _ = await asleep
      try await scene.event(.sleepFailed, code: "swapFull", after: mark, within: .seconds(20))
    } catch {
      kill(daemon, SIGCONT)
      hog.release()
      throw error
    }
    hog.release()
    #expect(try await scene.machine().lastFailure?.code.rawValue == "swapFull")
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
  }

  @Test("A daemon killed while it pages QEMU out: the VM sleeps on, and deeply")
  func daemonKilled() async throws {
    try await restart(environment: ["DORMOUSE_FAILPOINTS": "deepen.pagingOut=kill"])
    _ = try? await scene.sleep()
    try await scene.daemon.waitForExit(within: Self.patience)
    try await scene.daemon.start(arguments: ["--deep-after", "0"])
    _ = try await scene.wait(for: .asleep)
    try await untilDeep()
    #expect(try await residentBytes() <= Self.residentLimit)
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
  }

  @Test("A QEMU that dies while its memory is read ahead: the daemon says so and goes on")
  func diesDuringPrefetch() async throws {
    try await restart()
    try await makeRecord()
    try await restart(environment: ["DORMOUSE_FAILPOINTS": "wake.noticed=halt"])
    let daemon = try #require(await scene.daemon.pid)
    let asleep = try await sleepDeeply()
    #expect(asleep.qemuReleasedBytes != nil)
    let qemu = try #require(try await scene.machine().pid)
    let mark = try await scene.eventMark()
    let echo = Task {
      try await EchoConnection(
        from: scene.client, to: scene.guest.addresses.ipv4, within: Self.patience)
    }
    do {
      try await eventually("the daemon to halt", within: .seconds(20), every: .milliseconds(5)) {
        try isHalted(daemon) ? () : nil
      }
    } catch {
      kill(daemon, SIGCONT)
      throw error
    }
    kill(qemu, SIGKILL)
    kill(daemon, SIGCONT)
    _ = await echo.result
    try await scene.event(.died, after: mark, within: Self.patience)
    #expect(try await scene.machine().state == .failed)
    #expect(access(scene.daemon.wakeRecord(of: scene.name), F_OK) != 0, "its record stayed behind")
    // Without the failpoint, or the next wake would halt it again.
    try await restart()
    _ = try await scene.api.start(scene.name)
    try await scene.guest.waitUntilUp(from: scene.client)
    _ = try await scene.sleep()
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
  }

  @Test("The gain is the host's, whatever it swaps to", arguments: SwapDevice.Kind.allCases)
  func swapTier(kind: SwapDevice.Kind) async throws {
    try await restart()
    let device = try await SwapDevice(kind, in: scene.lab, megabytes: 768)
    do {
      try await device.activate()
      let pool = try await device.poolBytes()
      let used = try await device.usedBytes()
      let report = try await sleepDeeply()
      let own = try #require(report.qemuReleasedBytes)
      let released = Int64(report.releasedBytes + own)
      let growth = Int64(try await device.poolBytes()) - Int64(pool)
      print("\(kind.rawValue): released \(released >> 10) KiB, pool \(growth >> 10) KiB")
      #expect(report.releasedBytes >= report.touchedBytes * 9 / 10)
      #expect(try await device.usedBytes() >= used + report.releasedBytes * 9 / 10)
      // Less what the pool takes, to some pages that others on the host swap out or in meanwhile.
      #expect(abs(report.netGainBytes - (released - growth)) <= Self.residentLimit)
      if kind == .zram {
        #expect(growth > 1 << 20)
        #expect(report.netGainBytes < released)
      }
      _ = try await scene.api.wake(scene.name)
      try await scene.expectReachable()
    } catch {
      _ = try? await scene.api.wake(scene.name)
      try await device.remove()
      throw error
    }
    try await device.remove()
    try await scene.expectReachable()
  }

  @Test("What no wake uses stays in swap, or comes back slowly in the background, as the VM is set")
  func swapIn() async throws {
    try await scene.daemon.stop()
    // QEMU's own memory stays where it is: this is about the guest's.
    try await scene.daemon.start(arguments: ["--deep-after", "1000", "--swap-in-rate", "24"])
    #expect(try await scene.machine().swapIn == .lazy)
    try await scene.sleep()
    _ = try await scene.api.wake(scene.name)
    try await Task.sleep(for: Self.recording)
    let lazy = try await swappedBytes()
    try await Task.sleep(for: .seconds(1))
    try #require(lazy > 16 << 20)
    #expect(try await swappedBytes() > lazy - lazy / 4)

    let settings = SettingsRequest(swapIn: .background)
    #expect(try await scene.api.set(scene.name, settings).swapIn == .background)
    let report = try #require(try await scene.sleep().sleep)
    _ = try await scene.api.wake(scene.name)
    try await eventually("something to come back", within: .seconds(20)) {
      try await swappedBytes() < lazy - 4 << 20 ? () : nil
    }
    // In the middle of it, it falls asleep like any other, with all that has come back.
    let again = try #require(try await scene.sleep().sleep)
    #expect(again.residentBytes <= Self.residentLimit)
    _ = try await scene.api.wake(scene.name)
    try await eventually("the guest's memory to be back", within: .seconds(30)) {
      try await swappedBytes() < 8 << 20 ? () : nil
    }
    try await scene.expectReachable()
    print("swapped by the first sleep \(report.swapBytes >> 10) KiB, lazy \(lazy >> 10) KiB")
    // What came back unasked counts as used by nobody.
    let prefetched = try await prefetchedAtNextShallowWake()
    #expect(prefetched < report.swapBytes / 2)
    _ = try await scene.api.set(scene.name, SettingsRequest(swapIn: .lazy))
  }

  // MARK: -

  private func swappedBytes() async throws -> UInt64 {
    try HostMemory.swappedFileBytes(of: try #require(try await scene.machine().pid))
  }

  private func prefetchedAtNextShallowWake() async throws -> UInt64 {
    try await scene.sleep()
    return try await prefetchedByWaking()
  }

  /// A daemon that pages QEMU out as soon as its guest sleeps.
  private func restart(environment: [String: String] = [:]) async throws {
    try await scene.daemon.stop()
    try await scene.daemon.start(arguments: ["--deep-after", "0"], environment: environment)
  }

  private func sleepDeeply() async throws -> SleepReport {
    try await scene.sleep()
    return try await untilDeep()
  }

  @discardableResult
  private func untilDeep() async throws -> SleepReport {
    try await eventually("QEMU to be paged out", within: .seconds(30)) {
      guard let report = try await scene.machine().sleep, report.qemuReleasedBytes != nil else {
        return nil
      }
      return report
    }
  }

  /// Lets the VM sleep and wake once, so that there is a record.
  private func makeRecord() async throws {
    _ = try await sleepDeeply()
    let path = scene.daemon.wakeRecord(of: scene.name)
    unlink(path)
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
    try await eventually("the record", within: Self.patience) {
      access(path, R_OK) == 0 ? () : nil
    }
  }

  private func prefetchedAtNextWake() async throws -> UInt64 {
    _ = try await sleepDeeply()
    return try await prefetchedByWaking()
  }

  private func prefetchedByWaking() async throws -> UInt64 {
    _ = try await scene.api.wake(scene.name)
    // It goes on for a moment when the VM is awake already.
    try await Task.sleep(for: .seconds(1))
    return try #require(try await scene.machine().lastWake).prefetchedBytes
  }

  private func residentBytes() async throws -> UInt64 {
    try HostMemory.privateBytes(of: try #require(try await scene.machine().pid))
  }
}
