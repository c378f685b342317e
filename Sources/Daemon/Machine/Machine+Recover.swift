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
    if let entry = try? await context.inventory.read({ [name] in try $0.currentStep(name) }),
      entry.transition == .save, await resumeSave(entry)
    {
      return
    }
    // The daemon before this one may have died between writing a change down and sending it.
    if phase != nil { await sendRules() }
    guard let runtime = memo.running else { return await recoverUnrecorded() }
    let name = name
    do {
      guard runtime.process.isAlive else { return await recoverDead(runtime) }
      // A daemon that was killed between lowering the group's limit and raising it again has left it low.
      // First of all: it may be what keeps QEMU from answering.
      try? runtime.controlGroup.flatMap { try context.groups?.group(at: $0) }?.clearLimits()
      let monitor = try await QMPClient.connect(
        path: context.directory.machine(name).monitorSocket, deadline: .seconds(4))
      let status = try await monitor.queryStatus()
      let running = try find(runtime, monitor, lines: phase == nil ? nil : await borrowLines())
      let entry = try await context.inventory.read { try $0.currentStep(name) }
      attend(try find(runtime, monitor, lines: nil))
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

  /// Two takeovers of a sleeping VM are at least this far apart.
  static let resumeInterval = Duration.seconds(10)

  /// A QEMU that did not answer may do so later: it must not be forgotten with a paused guest in it.
  private func retryRecovery() {
    Task {
      try? await Task.sleep(for: .seconds(2))
      guard case .failed = state, memo.running != nil else { return }
      await recover(phase: nil)
    }
  }

  /// A daemon that died while it started the VM may have left a QEMU that no record knows. Nobody has used
  /// that VM yet: it is ended, and can be started again.
  private func recoverUnrecorded() async {
    guard let entry = try? await context.inventory.read({ [name] in try $0.currentStep(name) })
    else { return }
    do {
      try await endStrays()
      logger.notice("undid what was unfinished", metadata: ["step": "\(entry.step)"])
      await closeJournal("undone")
      await tell(.recovered, "the daemon died while it started \(name); the start was undone")
    } catch {
      enter(.failed)
      let message = "a QEMU of \(name) that is in no record cannot be ended: \(error)"
      await noteFailure(code: DaemonError.Code.startFailed.rawValue, message: message)
      await tell(.warning, message)
    }
  }

  private func recoverDead(_ runtime: RuntimeRecord) async {
    let entry = try? await context.inventory.read { [name] in try $0.currentStep(name) }
    clearUp(behind: runtime)
    _ = try? await context.sentry.request(.forget(name: name))
    if entry?.transition == .stop {
      enter(.stopped)
      await saveHistory()
      await closeJournal("stopped")
      return await tell(.stopped, "\(name) has stopped")
    }
    enter(.failed)
    let message = "QEMU of \(name) died while no daemon ran; it is not restarted by itself"
    await noteFailure(code: "died", message: message)
    await closeJournal("died")
    await tell(.died, message)
  }

  private func find(
    _ runtime: RuntimeRecord, _ monitor: QMPClient, lines: SentryLines?
  ) throws -> RunningMachine {
    let process = try ProcessHandle(opening: runtime.process)
    let group = runtime.controlGroup.flatMap { path in try? context.groups?.group(at: path) }
    return RunningMachine(
      runtime: runtime, process: process, monitor: monitor,
      detour: try runtime.findDetour(), group: group, lines: lines)
  }

  /// What an earlier daemon gave to the sentry: without it the VM would not survive the sentry asleep.
  private func borrowLines() async -> SentryLines? {
    do {
      guard case .lent(let lent) = try await context.sentry.request(.lend(name: name)),
        let pid = await context.sentry.processID
      else { return nil }
      let sentry = try ProcessHandle(opening: .of(pid: pid))
      return SentryLines(
        cursors: try CursorTable.openMemory(of: pid, at: lent.cursors),
        detourTap: try sentry.duplicateDescriptor(lent.detourTap))
    } catch {
      logger.warning("the sentry's descriptors cannot be had", metadata: ["error": "\(error)"])
      return nil
    }
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
      await planWake(running)
      if report.qemuReleasedBytes == nil { deepenLater(running) }
      await tell(.recovered, "\(name) is still asleep")
      return
    }
    if status == .running, entry == nil, phase == .learning || !running.detour.isPossible {
      enter(.awake(running))
      // The daemon may have died while it gave the VM to the sentry anew: the record then names a detour
      // tap that is gone.
      if running.detour.isPossible, running.detour.detourTap == 0 || running.lines == nil {
        await guardAnew()
      }
      await tell(.recovered, "\(name) is still awake")
      // The daemon that noted the end of a wake may have died before it told the guest the time.
      if memo.lastWake?.clockStepped == false { stepClockSoon() }
      return
    }
    logger.notice(
      "finding the VM in between",
      metadata: [
        "status": "\(status)", "phase": "\(phase?.rawValue ?? "none")",
        "step": "\(entry?.step ?? "none")",
      ])
    // The end of what QEMU is writing would stop the VM once more.
    if entry?.transition == .save {
      try? await running.monitor.stopSavingState()
      try? await running.monitor.closeStateFiles()
    }
    // In between, or unknown to the sentry: the VM is made to run, and begins anew.
    enter(.fallingAsleep(running, Interruption()))
    if phase != nil {
      await ensureAwake(running, cause: .recovery)
    } else {
      await wakeByOwnHands(running, cause: .recovery)
    }
    await closeJournal("recovered")
    // Unless QEMU has died meanwhile.
    guard case .fallingAsleep = state else { return }
    enter(.awake(running))
    await guardAnew()
    await tell(.recovered, "\(name) was found in between and is awake")
    stepClockSoon()
  }

  /// There is a sentry again: another one, or the same after a lost connection.
  ///
  /// Returns at once. What is to be done may take as long as this VM's QEMU takes to answer, and the others
  /// need not wait for that.
  func sentryReturned(phase: GuardPhase?) {
    afterSentryWork {
      if phase != nil { await self.sendRules() }
      await self.meet(sentryIn: phase)
    }
  }

  /// The sentry has lost its monitor of the VM, and no longer guards it.
  ///
  /// Mostly because QEMU has ended. If it has not, a VM that sleeps must not go on sleeping unguarded.
  func sentryLeft() {
    afterSentryWork {
      guard let running = await self.state.running else { return }
      let ended = try? await running.process.waitForExit(timeout: .seconds(1))
      if ended == false { await self.meet(sentryIn: nil) }
    }
  }

  /// Does one thing after the other where a sentry is being replaced.
  func afterSentryWork(_ body: @escaping @Sendable () async -> Void) {
    sentryWork.add(body)
  }

  private func meet(sentryIn phase: GuardPhase?) async {
    guard let running = state.running else { return }
    switch (state, phase) {
    case (.asleep, .answering), (.awake, .learning), (.saving, _), (.stopped, _), (.starting, _),
      (.failed, _):
      return
    case (.asleep(_, let report), nil):
      await resumeGuard(running, report)
    case (.fallingAsleep(_, let interruption), _):
      // The sentry that it counted on is gone or has had its own thoughts: the order that is under way
      // fails at its next word with the sentry, and undoes itself. It would go on with what it knows of
      // the old sentry's detour tap, so the new one gets the VM only after that.
      interruption.raise()
      await settled()
      if phase == nil { await guardAnew() }
    case (.waking, nil):
      await wakeByOwnHands(running, cause: .sentryLost)
      await guardAnew()
    case (.awake, nil):
      // What the dead sentry may have left engaged would swallow the guest's frames.
      await wakeByOwnHands(running, cause: .sentryLost)
      await guardAnew()
    case (.waking, _), (.asleep, _), (.awake, _):
      await ensureAwake(running, cause: .recovery)
    }
  }

  /// There has been no sentry for too long.
  func sentryStaysAway() async {
    switch state {
    case .asleep(let running, _), .waking(let running):
      await wakeByOwnHands(running, cause: .sentryLost)
    case .fallingAsleep(_, let interruption): interruption.raise()
    case .awake, .saving, .stopped, .starting, .failed: return
    }
  }

  /// A new sentry takes a sleeping VM over from one that died: cursors, detour tap and all.
  ///
  /// Once. A sentry that dies soon after it took the VM over may have died of what it was given.
  private func resumeGuard(_ running: RunningMachine, _ report: SleepReport) async {
    do {
      guard let lines = running.lines else {
        throw DaemonError(.wakeFailed, "the daemon has no descriptors of \(name)'s detour")
      }
      if let last = resumedGuardAt, .now - last < Self.resumeInterval {
        throw DaemonError(.wakeFailed, "the last sentry that took it over died as well")
      }
      resumedGuardAt = .now
      guard try running.detour.isEngaged(RouteNetlink()) else {
        throw DaemonError(.wakeFailed, "the detour of \(name) is gone")
      }
      try await entrust(running, lines, asleep: true)
      // The old one may have died between its `cont` and its word to the daemon. From here on the new one
      // sees it when the VM is continued.
      guard try await running.monitor.queryStatus() == .paused else {
        return await ensureAwake(running, cause: .sentryLost)
      }
    } catch {
      logger.warning("the new sentry cannot take over", metadata: ["error": "\(error)"])
      _ = try? await context.sentry.request(.forget(name: name))
      await wakeByOwnHands(running, cause: .sentryLost)
      await guardAnew()
    }
  }

  /// The sentry has said that the VM is awake.
  func sentryWoke(_ outcome: WakeOutcome) async {
    guard let running = state.running else { return }
    await finishWaking(running, outcome)
    if running.lines == nil { afterSentryWork { await self.guardAnew() } }
  }

  /// The sentry cannot make QEMU continue the VM.
  func monitorSilent(_ message: String) async {
    guard let running = state.running else { return }
    if case .saving = state { return }
    await noteFailure(
      code: DaemonError.Code.wakeFailed.rawValue,
      message: "QEMU of \(name) does not answer (\(message)); frames are held, trying on")
    await tell(.warning, "QEMU of \(name) does not answer: \(message)", ["code": "monitorSilent"])
    // Perhaps it is only the sentry's monitor that is stuck.
    _ = try? await running.monitor.cont()
  }
}
