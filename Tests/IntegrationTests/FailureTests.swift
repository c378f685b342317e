import API
import FoundationEssentials
import Glibc
import Seamless
import TestBed
import Testing

/// Failures that are caused for real. Whatever happens, the VM ends up awake and reachable, the daemon says
/// what was wrong, and nothing stays behind.
@Suite(
  .serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure,
  .scene("unlucky", memoryMegabytes: 384, stateMegabytes: 128))
struct FailureTests {
  static let patience = Duration.seconds(10)

  let scene: Scene

  init() async throws {
    scene = try Scene.current()
    // A test that failed may have left it asleep; that is no reason for the next one to fail.
    if try await scene.machine().state == .asleep { _ = try await scene.api.wake(scene.name) }
  }

  // MARK: - Swap

  @Test("Swap without room for the VM: sleep is refused, and nothing is done")
  func swapShort() async throws {
    let hog = SwapHog()
    defer { hog.release() }
    try await hog.fill(leavingFree: 64 << 20)
    let mark = try await scene.eventMark()
    let error = await #expect(throws: APIError.self) { try await scene.sleep() }
    #expect(error?.code == .refused)
    #expect(error?.message.contains("swap has") == true)
    #expect(error?.advice != nil || error?.message.contains("doctor") == true)
    #expect(try await scene.machine().lastFailure?.code.rawValue == "swapShort")
    try await scene.event(.sleepRefused, code: "swapShort", after: mark, within: Self.patience)
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
    hog.release()
    try await sleepsAndWakes()
  }

  @Test("Swap that fills up in the middle: the VM goes on")
  func swapFull() async throws {
    try await scene.daemon.stop()
    try await scene.daemon.start(environment: ["DORMOUSE_FAILPOINTS": "sleep.pagingOut=halt"])
    let daemon = try #require(await scene.daemon.pid)
    let hog = SwapHog()
    let mark = try await scene.eventMark()
    let error: APIError?
    do {
      // Most of it beforehand: the sentry waits ten seconds for a daemon that is halted.
      try await hog.fill(leavingFree: scene.memory().groupBytes + 128 << 20)
      async let outcome = outcomeOfSleep()
      try await eventually("the daemon to halt", within: .seconds(20), every: .milliseconds(10)) {
        try isHalted(daemon) ? () : nil
      }
      try await hog.fill(leavingFree: 0)
      kill(daemon, SIGCONT)
      error = await outcome
    } catch {
      hog.release()
      try await scene.daemon.kill()
      try await scene.daemon.start()
      throw error
    }
    hog.release()
    #expect(error?.code == .refused)
    #expect(error?.message.contains("swap ran full") == true)
    #expect(try await scene.machine().lastFailure?.code.rawValue == "swapFull")
    try await scene.event(.sleepFailed, code: "swapFull", after: mark, within: Self.patience)
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
    try await scene.daemon.stop()
    try await scene.daemon.start()
    try await scene.expectReachable()
  }

  @Test("A swap area that is taken away while the VM sleeps: its next sleep is as good")
  func swapTakenAway() async throws {
    let megabytes = 96
    try await scene.guest.touchMemory(megabytes: megabytes, from: scene.client)
    let swap = try await SwapFile(in: scene.lab, megabytes: 512)
    defer { swap.remove() }
    try await swap.activate(priority: 32_000)
    do {
      try await scene.sleep()
    } catch {
      try await swap.deactivate()
      throw error
    }
    try await swap.deactivate()
    #expect(try await scene.machine().state == .asleep)
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
    let report = try #require(try await scene.sleep().sleep)
    // The kernel has brought it back, though the guest has not asked for it.
    #expect(report.touchedBytes > UInt64(megabytes) << 20)
    #expect(Double(report.releasedBytes) >= 0.97 * Double(report.touchedBytes))
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
  }

  // MARK: - QEMU

  @Test("A monitor that falls silent while the VM sleeps: frames are held until it answers")
  func silentWhileAsleep() async throws {
    let echo = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.ipv4, keepalive: nil)
    try await echo.echo(Array("before".utf8))
    try await scene.sleep()
    let machine = try await scene.machine()
    let qemu = try #require(machine.pid)
    let mark = try await scene.eventMark()
    kill(qemu, SIGSTOP)
    defer { kill(qemu, SIGCONT) }
    async let answer = echo.echo(Array("held".utf8), within: .seconds(20))
    try await scene.event(.warning, code: "monitorSilent", after: mark, within: Self.patience)
    #expect(try await scene.machine().state == .waking)
    #expect(try await scene.machine().lastFailure?.code.rawValue == "wakeFailed")
    kill(qemu, SIGCONT)
    #expect(try await answer > .seconds(1))
    try await scene.wait(for: .awake, within: Self.patience)
    #expect(try await scene.machine().pid == qemu)
    try await echo.echo(Array("after".utf8))
    try await eventually("the report of the wake", within: Self.patience) {
      try await scene.machine().wakes > machine.wakes ? () : nil
    }
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
  }

  @Test("A monitor that is silent when the VM is to sleep: the sleep fails in time, the VM goes on")
  func silentWhenFallingAsleep() async throws {
    // Quiet, so that nothing but QEMU itself is in the way.
    try await scene.sleep()
    _ = try await scene.api.wake(scene.name)
    try await Task.sleep(for: .seconds(2))
    let qemu = try #require(try await scene.machine().pid)
    let mark = try await scene.eventMark()
    kill(qemu, SIGSTOP)
    defer { kill(qemu, SIGCONT) }
    async let outcome = outcomeOfSleep()
    let clock = ContinuousClock()
    let start = clock.now
    try await scene.event(.warning, code: "monitorSilent", after: mark, within: .seconds(20))
    print("silence noticed after \(clock.now - start)")
    kill(qemu, SIGCONT)
    let error = try #require(await outcome)
    #expect(error.code == .unavailable)
    try await scene.event(.sleepFailed, code: "deadline", after: mark, within: Self.patience)
    #expect(try await scene.machine().lastFailure?.code.rawValue == "deadline")
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
    try await sleepsAndWakes()
  }

  // MARK: - The detour

  @Test(
    "A detour that somebody else removes: the VM wakes",
    arguments: [["filter", "del", "egress"], ["qdisc", "del", "clsact"]])
  func detourRemoved(words: [String]) async throws {
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8))
    let asleep = try await scene.sleep()
    let tap = try #require(asleep.networks.first?.tap)
    let clock = ContinuousClock()
    let start = clock.now
    try await scene.network.host.run("tc", words[0], words[1], "dev", tap, words[2])
    let awake = try await scene.wait(for: .awake, within: Self.patience)
    print("awake \(clock.now - start) after the detour was gone")
    #expect(awake.pid == asleep.pid)
    let wake = try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.wakes > asleep.wakes ? machine.lastWake : nil
    }
    #expect(wake.reason == WakeCause.detourRemoved.rawValue)
    try await echo.echo(Array("after".utf8))
    try await scene.expectReachable()
    // What was taken away is made anew for the next sleep.
    try await sleepsAndWakes()
    try await echo.echo(Array("still".utf8))
  }

  // MARK: - The state directory

  @Test("A full disk below the journal: sleep is refused, and a VM that sleeps still wakes")
  func diskFull() async throws {
    let filler = scene.daemon.stateDirectory + "/filler"
    defer { unlink(filler) }
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8))

    try await fill(filler)
    let error = await #expect(throws: APIError.self) {
      // The journal may have room that it took earlier: not for ever.
      for _ in 0..<50 {
        try await scene.sleep()
        _ = try await scene.api.wake(scene.name)
      }
    }
    #expect(error?.code == .unavailable)
    #expect(error?.advice?.contains("state directory") == true)
    #expect(try await scene.machine().lastFailure?.code.rawValue == "diskFull")
    #expect(try await scene.detours() == 0)
    try await scene.expectReachable()
    try await echo.echo(Array("full".utf8))

    unlink(filler)
    try await scene.sleep()
    try await fill(filler)
    try await echo.echo(Array("wakes all the same".utf8), within: Self.patience)
    try await scene.wait(for: .awake, within: Self.patience)
    #expect(try await scene.detours() == 0)
    unlink(filler)
    try await sleepsAndWakes()
    try await echo.echo(Array("after".utf8))
  }

  @Test("A second daemon on the same state directory ends and says why; the first goes on")
  func sharedStateDirectory() async throws {
    let first = try await scene.api.status()
    try await scene.sleep()
    let second = try LabDaemon(
      on: scene.network, in: scene.lab, stateDirectory: scene.daemon.stateDirectory)
    let process = try await second.launch()
    try await process.waitForExit(within: Self.patience)
    let log = String(
      decoding: try #require(FileManager.default.contents(atPath: second.log)), as: UTF8.self)
    #expect(log.contains(scene.daemon.stateDirectory))
    #expect(log.contains("in use") || log.contains("another"))
    let now = try await scene.api.status()
    #expect(now.pid == first.pid)
    #expect(now.sentry.pid == first.sentry.pid)
    #expect(try await scene.machine().state == .asleep)
    _ = try await scene.api.wake(scene.name)
    try await scene.expectReachable()
  }

  @Test("Two daemons side by side, each with its own VM on the same bridge")
  func sideBySide() async throws {
    let other = try LabDaemon(on: scene.network, in: scene.lab)
    let guest = try await Guest("other", on: scene.network, in: scene.lab)
    do {
      try await other.start()
      try await other.create(guest, memoryMegabytes: 384)
      _ = try await other.client.start(guest.name)
      try await guest.waitUntilUp(from: scene.client)
      let mine = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
      let theirs = try await EchoConnection(from: scene.client, to: guest.addresses.ipv4)
      try await mine.echo(Array("mine".utf8))
      try await theirs.echo(Array("theirs".utf8))
      #expect(try await scene.api.list().map(\.name) == [scene.name])
      #expect(try await other.client.list().map(\.name) == [guest.name])
      #expect(try await scene.api.status().sentry.pid != other.client.status().sentry.pid)

      try await scene.sleep()
      try await sleepWhenQuiet(other.client, guest.name)
      try await theirs.echo(Array("wake up".utf8), within: Self.patience)
      try await waitForState(other.client, guest.name, .awake, within: Self.patience)
      #expect(try await scene.machine().state == .asleep)
      try await mine.echo(Array("you, too".utf8), within: Self.patience)
      try await scene.wait(for: .awake, within: Self.patience)
    } catch {
      await other.tearDown()
      throw error
    }
    await other.tearDown()
    try await scene.expectReachable()
  }

  // MARK: - The guest

  @Test("A guest without its agent: it wakes, and a warning says that its clock is wrong")
  func noAgent() async throws {
    try await scene.guest.run("systemctl stop qemu-guest-agent", from: scene.client)
    try await scene.sleep()
    let mark = try await scene.eventMark()
    #expect(try await scene.api.wake(scene.name).state == .awake)
    try await scene.expectReachable()
    let warning = try await scene.event(
      .warning, code: "clockNotSet", after: mark, within: .seconds(20))
    #expect(warning.message.contains("qemu-guest-agent"))
    #expect(try await scene.machine().lastWake?.clockStepped == false)
    try await scene.guest.run("systemctl start qemu-guest-agent", from: scene.client)
    try await eventually("the clock to be set after all", within: .seconds(60)) {
      try await scene.machine().lastWake?.clockStepped == true ? () : nil
    }
  }

  // MARK: - Starting

  @Test("A bridge that is not there: the start fails, and nothing of it is left")
  func noBridge() async throws {
    let taps = try await scene.taps()
    let image = scene.guest.image
    _ = try await scene.api.create(
      CreateRequest(
        name: "homeless", memoryBytes: 128 << 20, cpus: 1, kernel: image.kernel,
        initrd: image.initrd, kernelCommandLine: "console=ttyS0",
        networks: [.init(bridge: "absent0")]))
    let error = await #expect(throws: APIError.self) { try await scene.api.start("homeless") }
    #expect(error?.code == .refused)
    #expect(error?.message.contains("absent0") == true)
    let machine = try await scene.api.show("homeless")
    #expect(machine.state == .stopped)
    #expect(machine.pid == nil)
    #expect(machine.lastFailure?.code.rawValue == "startFailed")
    #expect(try await scene.taps() == taps)
    try await scene.api.delete("homeless")
    #expect(try await scene.api.list().map(\.name) == [scene.name])
  }

  @Test(
    "A QEMU that is killed while its VM sleeps: reported, cleared up, started again by order only")
  func killedWhileAsleep() async throws {
    let asleep = try await scene.sleep()
    let qemu = try #require(asleep.pid)
    #expect(try await scene.taps().count == 2)
    let mark = try await scene.eventMark()
    kill(qemu, SIGKILL)
    try await scene.event(.died, after: mark, within: Self.patience)
    let failed = try await scene.machine()
    #expect(failed.state == .failed)
    #expect(failed.lastFailure?.code.rawValue == "died")
    #expect(failed.pid == nil)
    #expect(failed.sleep == nil)
    try await eventually("the taps to go", within: Self.patience) {
      try await scene.taps().isEmpty ? () : nil
    }
    // Nobody answers for it any more, and nobody starts it behind its owner's back.
    #expect(try await Pinger(from: scene.client, to: scene.guest.addresses.ipv4).ping() == nil)
    try await Task.sleep(for: .seconds(2))
    #expect(try await scene.machine().state == .failed)
    #expect(try await scene.api.status().sentry.pid != nil)

    let started = try await scene.api.start(scene.name)
    #expect(started.state == .awake)
    #expect(started.pid != qemu)
    try await scene.guest.waitUntilUp(from: scene.client)
    try await sleepsAndWakes()
  }

  @Test("No sentry to be had: the VM starts and runs, and is not put to sleep")
  func noSentry() async throws {
    _ = try await scene.api.stop(scene.name, force: true)
    let sentry = try #require(try await scene.api.status().sentry.pid)
    try await scene.daemon.stop()
    kill(sentry, SIGKILL)
    try await scene.daemon.start(arguments: ["--sentry", "/nonexistent/dormouse-sentry"])
    let doctor = try await scene.api.doctor()
    #expect(doctor.findings.contains { $0.check == "sentry" && $0.status != .ok })
    #expect(try await scene.api.start(scene.name).state == .awake)
    let pinger = Pinger(from: scene.client, to: scene.guest.addresses.ipv4)
    try await eventually("the guest to answer", within: .seconds(60)) {
      try await pinger.ping(within: .milliseconds(200))
    }
    let error = await #expect(throws: APIError.self) { try await scene.api.sleep(scene.name) }
    #expect(error?.code == .unavailable)
    #expect(error?.advice != nil)
    #expect(try await scene.machine().state == .awake)
    #expect(try await pinger.ping() != nil)
    #expect(try await scene.api.status().sentry.state != .running)
  }

  // MARK: -

  /// A sleep, and a wake by a connection of its own.
  private func sleepsAndWakes() async throws {
    try await scene.sleep()
    let echo = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.ipv4, keepalive: nil, within: Self.patience)
    try await echo.echo(Array("wake up".utf8), within: Self.patience)
    try await scene.expectReachable()
  }

  /// What the daemon says when the sleep comes to nothing; nil when it does not.
  private func outcomeOfSleep() async -> APIError? {
    do {
      try await scene.sleep(within: .seconds(30))
      return nil
    } catch {
      return error as? APIError
    }
  }

  /// Writes a file until the disk is full.
  private func fill(_ path: String) async throws {
    // It ends with an error: that is the point.
    _ = try await Command.outcome(of: ["dd", "if=/dev/zero", "of=\(path)", "bs=64k"])
  }
}
