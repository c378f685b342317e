import API
import FoundationEssentials
import Inventory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import QEMU
import Seamless

/// What the daemon does about a VM that it did not see all the time: after its own start, and after the
/// loss of a sentry. The world counts; the journal only says what was meant.
extension Machine {
  /// Finds the VM's QEMU again, and finishes or undoes what was going on.
  ///
  /// - Parameter phase: what the sentry says of the VM; nil when it does not know it.
  func recover(phase: GuardPhase?) async {
    guard let runtime = memo.running else { return }
    let name = name
    do {
      guard runtime.process.isAlive else { return await recoverDead(runtime) }
      let monitor = try await QMPClient.connect(
        path: context.directory.machine(name).monitorSocket, deadline: .seconds(4))
      let status = try await monitor.queryStatus()
      let running = try find(runtime, monitor)
      let entry = try await context.inventory.read { try $0.currentStep(name) }
      attend(running)
      await recover(running, status, phase: phase, entry)
    } catch {
      guard runtime.process.isAlive else { return await recoverDead(runtime) }
      enter(.failed)
      let message = "\(name) runs, but its QEMU does not answer: \(error)"
      logger.error("\(message)")
      await noteFailure(code: "unreachable", message: message)
      await tell(.warning, message)
      retryRecovery()
    }
  }

  /// A QEMU that did not answer may do so later: it must not be forgotten with a paused guest in it.
  private func retryRecovery() {
    Task {
      try? await Task.sleep(for: .seconds(2))
      guard case .failed = state, memo.running != nil else { return }
      await recover(phase: nil)
    }
  }

  private func recoverDead(_ runtime: RuntimeRecord) async {
    enter(.failed)
    let message = "QEMU of \(name) died while no daemon ran; it is not restarted by itself"
    memo.running = nil
    context.directory.machine(name).removeSockets()
    if let groups = context.groups, let path = runtime.controlGroup {
      try? groups.group(at: path).remove()
    }
    _ = try? await context.sentry.request(.forget(name: name))
    await noteFailure(code: "died", message: message)
    await closeJournal("died")
    await tell(.died, message)
  }

  private func find(
    _ runtime: RuntimeRecord, _ monitor: QMPClient
  ) throws -> RunningMachine {
    let process = try ProcessHandle(opening: runtime.process)
    let netlink = try RouteNetlink()
    guard let tap = try netlink.linkIndex(named: runtime.tap) else {
      throw LinuxError(code: .notFound, message: "the tap \(runtime.tap) is not there")
    }
    // The detour tap disappears with its last descriptor, that is when daemon and sentry were both gone.
    let detourTap = try netlink.linkIndex(named: runtime.detourTap) ?? 0
    let group = runtime.controlGroup.flatMap { path in try? context.groups?.group(at: path) }
    // A daemon that was killed between lowering the group's limit and raising it again has left it low.
    try? group?.clearLimits()
    return RunningMachine(
      runtime: runtime, process: process, monitor: monitor,
      detour: Detour(machineTap: tap, detourTap: detourTap), group: group, lines: nil)
  }

  private func recover(
    _ running: RunningMachine, _ status: RunState, phase: GuardPhase?, _ entry: JournalEntry?
  ) async {
    let slept = entry?.transition == .sleep && entry?.step == SleepStep.asleep.rawValue
    if slept, status == .paused, phase == .answering,
      let report = entry?.payload.flatMap({
        try? APICoding.decoder().decode(SleepReport.self, from: $0)
      })
    {
      enter(.asleep(running, report))
      await tell(.recovered, "\(name) is still asleep")
      return
    }
    if phase == .learning, status == .running, entry == nil {
      enter(.awake(running))
      await tell(.recovered, "\(name) is still awake")
      return
    }
    logger.notice(
      "finding the VM in between",
      metadata: [
        "status": "\(status)", "phase": "\(phase?.rawValue ?? "none")",
        "step": "\(entry?.step ?? "none")",
      ])
    // In between, or unknown to the sentry: the VM is made to run, and begins anew.
    enter(.fallingAsleep(running, Interruption()))
    if phase != nil {
      await ensureAwake(running, cause: .recovery)
    } else {
      while await !wakeWithoutSentry(running, cause: .recovery), running.process.identity.isAlive {
        try? await Task.sleep(for: .milliseconds(200))
      }
    }
    await closeJournal("recovered")
    enter(.awake(running))
    await guardAnew(running)
    await tell(.recovered, "\(name) was found in between and is awake")
  }

  /// There is a sentry again: another one, or the same after a lost connection.
  func sentryReturned(phase: GuardPhase?) async {
    guard let running = state.running else { return }
    switch (state, phase) {
    case (.asleep, .answering), (.awake, .learning), (.stopped, _), (.starting, _), (.failed, _):
      return
    case (.asleep(_, let report), nil):
      await resumeGuard(running, report)
    case (.fallingAsleep(_, let interruption), _):
      // The sentry that it counted on is gone or has had its own thoughts: the order that is under way
      // fails at its next word with the sentry, and undoes itself.
      interruption.raise()
      if phase == nil { await guardAnew(running) }
    case (.waking, _), (.asleep, _), (.awake, _):
      if phase == nil {
        while await !wakeWithoutSentry(running, cause: .sentryLost),
          running.process.identity.isAlive
        {
          try? await Task.sleep(for: .milliseconds(200))
        }
        await guardAnew(running)
      } else {
        await ensureAwake(running, cause: .recovery)
      }
    }
  }

  /// A new sentry takes a sleeping VM over from one that died: cursors, detour tap and all.
  private func resumeGuard(_ running: RunningMachine, _ report: SleepReport) async {
    do {
      guard let lines = running.lines else {
        throw DaemonError(.wakeFailed, "the daemon has no descriptors of \(name)'s detour")
      }
      let netlink = try RouteNetlink()
      guard try running.detour.isEngaged(netlink) else {
        throw DaemonError(.wakeFailed, "the detour of \(name) is gone")
      }
      try await entrust(running, lines, asleep: true)
    } catch {
      logger.warning("the new sentry cannot take over", metadata: ["error": "\(error)"])
      while await !wakeWithoutSentry(running, cause: .sentryLost), running.process.identity.isAlive
      {
        try? await Task.sleep(for: .milliseconds(200))
      }
      await guardAnew(running)
    }
  }

  /// The sentry has said that the VM is awake.
  func sentryWoke(_ outcome: WakeOutcome) async {
    guard let running = state.running else { return }
    await finishWaking(running, outcome)
    if running.lines == nil, case .awake = state { await guardAnew(running) }
  }

  /// The sentry cannot make QEMU continue the VM.
  func monitorSilent(_ message: String) async {
    guard let running = state.running else { return }
    await noteFailure(
      code: DaemonError.Code.wakeFailed.rawValue,
      message: "QEMU of \(name) does not answer (\(message)); frames are held, trying on")
    await tell(.warning, "QEMU of \(name) does not answer: \(message)", ["code": "monitorSilent"])
    // Perhaps it is only the sentry's monitor that is stuck.
    _ = try? await running.monitor.cont()
  }
}
