import API
import Daemon
import FoundationEssentials
import Glibc
import Seamless
import TestBed
import Testing

/// Daemon and sentry are killed at every step, and stay away or come back: connections live on, one owner
/// has the address, nothing is left over.
@Suite(.serialized, .timeLimit(.minutes(6)), .showsLogsOnFailure, .crashScene("crash"))
struct CrashTests {
  private let crash: CrashScene
  private let scene: Scene

  init() throws {
    crash = try .current()
    scene = crash.scene
  }

  // MARK: - Every step

  @Test(
    "The daemon is killed while a VM falls asleep",
    arguments: SleepStep.allCases.flatMap { [$0.failpoint + ".before", $0.failpoint] })
  func daemonKilledFallingAsleep(failpoint: String) async throws {
    try await crash.restartDaemon(failpoint: failpoint)
    _ = try? await scene.sleep()
    // It died at the failpoint and nowhere else: it would have slept otherwise.
    try await scene.daemon.waitForExit(within: .seconds(2))
    let asleep = try await crash.expectSound(since: try await crash.restartDaemon())
    #expect(asleep == (failpoint == SleepStep.asleep.failpoint))
    if asleep { try await crash.expectSleepingOn() }
    try await crash.expectConnectionsLive()
  }

  @Test("The daemon is killed while a VM wakes", arguments: WakeStep.allCases)
  func daemonKilledWaking(step: WakeStep) async throws {
    try await crash.restartDaemon(failpoint: step.failpoint)
    try await scene.sleep()
    if step == .ordered {
      _ = try? await scene.api.wake(scene.name)
    } else {
      // The sentry wakes it; that the daemon dies on hearing of it delays nothing.
      try await crash.expectConnectionsLive()
    }
    try await scene.daemon.waitForExit(within: .seconds(2))
    try await crash.expectSound(since: try await crash.restartDaemon(), asleep: false)
    try await crash.expectConnectionsLive()
  }

  @Test("The sentry is killed", arguments: SentryStep.allCases)
  func sentryKilled(step: SentryStep) async throws {
    try await crash.restartBoth(sentryFailpoint: step.failpoint)
    let first = try await crash.sentryID()
    switch step {
    case .arming, .committing, .answering:
      await #expect(throws: APIError.self) { try await scene.sleep() }
    case .deciding, .continueSent, .continued, .replayed, .released:
      try await scene.sleep()
      try await crash.expectConnectionsLive()
    }
    let died = ContinuousClock.now
    try await crash.waitForSuccessor(of: first, within: .seconds(5))
    try await crash.expectSound(since: died, asleep: false)
    try await crash.expectConnectionsLive()
  }

  // MARK: - Nobody comes back

  @Test("A daemon that stays away has its VMs woken by the sentry after ten seconds")
  func daemonStaysAway() async throws {
    try await scene.sleep()
    try await scene.daemon.kill()
    let died = ContinuousClock.now
    try await eventually("the detour to go", within: .seconds(12)) {
      try await crash.detours() == 0 ? () : nil
    }
    #expect(ContinuousClock.now - died > .seconds(9))
    try await crash.expectConnectionsLive()
    try await scene.daemon.start()
    try await crash.expectSound(since: .now, asleep: false)
  }

  @Test("A VM sleeps on when its sentry is killed, and is woken by the next one")
  func sleepsOn() async throws {
    // The daemon has what a new sentry needs from the old one, as it did not start that itself.
    try await crash.restartDaemon()
    try await scene.sleep()
    let mark = try await scene.eventMark()
    let second = try await crash.sentryID()
    try await crash.killSentry()
    try await crash.waitForSuccessor(of: second, within: .seconds(5))
    try await crash.expectSleepingOn()
    #expect(try await scene.events(after: mark).allSatisfy { $0.kind != .awake })
    try await crash.expectConnectionsLive()
    try await crash.expectSound(since: .now, asleep: false)
  }

  @Test("Daemon and sentry are killed while a VM sleeps, and only the daemon is started again")
  func bothKilled() async throws {
    try await scene.sleep()
    try await crash.killSentry()
    try await crash.expectSound(since: try await crash.restartDaemon(), asleep: false)
    try await crash.expectConnectionsLive()
  }

  @Test("A sentry that is lost for good has its VMs woken by the daemon")
  func sentryStaysAway() async throws {
    let copy = scene.lab.directory + "/sentry-to-lose"
    try FileManager.default.copyItem(atPath: try scene.lab.program("dormouse-sentry"), toPath: copy)
    try await scene.daemon.kill()
    try await scene.daemon.start(arguments: ["--sentry", copy])
    try await scene.sleep()
    try FileManager.default.removeItem(atPath: copy)
    try await crash.killSentry()
    try await scene.wait(for: .awake, within: .seconds(10))
    #expect(try await crash.detours() == 0)
    try await crash.expectConnectionsLive()
    await #expect(throws: APIError.self) { try await scene.api.sleep(scene.name) }
    try await crash.expectSound(since: try await crash.restartDaemon(), asleep: false)
  }

  // MARK: - Stopped in good order

  @Test("A daemon that is stopped leaves an awake VM and a sleeping one as they are")
  func stopped() async throws {
    let qemu = try await scene.machine().pid
    try await scene.daemon.stop(within: .seconds(5))
    try await crash.expectConnectionsLive()
    try await scene.daemon.start()
    try await crash.expectSound(since: .now, asleep: false)
    try await scene.sleep()
    try await scene.daemon.stop(within: .seconds(5))
    try await scene.daemon.start()
    try await crash.expectSound(since: .now, asleep: true)
    try await crash.expectSleepingOn()
    try await crash.expectConnectionsLive()
    #expect(try await scene.machine().pid == qemu)
  }

  // MARK: - Starting

  @Test("The daemon is killed while it starts a VM", arguments: StartStep.allCases)
  func daemonKilledStarting(step: StartStep) async throws {
    let second = try await Guest("second", on: scene.network, in: scene.lab)
    try await scene.daemon.create(second, memoryMegabytes: 128)
    try await crash.restartDaemon(failpoint: step.failpoint)
    _ = try? await scene.api.start(second.name)
    try await scene.daemon.waitForExit(within: .seconds(2))
    try await crash.restartDaemon()
    let unrecorded = step == .launching || step == .launched
    try await scene.daemon.waitFor(
      unrecorded ? .stopped : .awake, of: second.name, within: CrashScene.reconciliation)
    if !unrecorded { _ = try await scene.api.stop(second.name, force: true) }
    // Its QEMU, its taps and its group are gone with it.
    try await crash.expectSound(since: .now, asleep: false)
    try await eventually("its control group to go", within: .seconds(2)) {
      try crash.controlGroups() == 1 ? () : nil
    }
    try await scene.api.delete(second.name)
  }

  // MARK: - Hanging

  /// The last of all: a hang is told from a delay after some seconds, which cost ``CrashScene/connections``.
  @Test("A sentry that hangs is replaced")
  func sentryHangs() async throws {
    let patient = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.ipv4, keepalive: nil)
    try await patient.echo(Array("hello".utf8))
    try await scene.sleep()
    let first = try await crash.sentryID()
    kill(first, SIGSTOP)
    try await crash.waitForSuccessor(of: first, within: .seconds(10))
    try await crash.expectSound(since: .now)
    try await patient.echo(Array("still there?".utf8))
    try await crash.expectSound(since: .now, asleep: false)
  }
}
