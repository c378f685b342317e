import API
import FoundationEssentials
import LinuxNetwork
import LinuxSystem
import QEMU
import Seamless
import SuspendToSwap

extension Machine {
  /// How long the guest agent gets to answer at all after a wake.
  static let agentDeadline = Duration.seconds(10)
  /// How long it then gets to set the clock. It sets the system's at once, but answers when hwclock has set
  /// the hardware's, which tries for the beginning of a second again and again in a guest that is busy.
  static let clockDeadline = Duration.seconds(30)
  /// How long to wait before each try to set it.
  private static let clockPauses: [Duration] = [
    .zero, .seconds(5), .seconds(30), .seconds(60),
  ]

  /// Wakes the VM by order; returns when it runs.
  func wake() async throws {
    if case .fallingAsleep(_, let interruption) = state { interruption.raise() }
    try await inOrder {
      await settled()
      switch state {
      case .awake: return
      case .asleep(let running, _):
        await step(.ordered)
        await ensureAwake(running, cause: .order)
        await settled()
        guard running.process.identity.isAlive else {
          throw DaemonError(.wakeFailed, "QEMU of \(name) has died")
        }
      case .stopped, .starting, .failed, .fallingAsleep, .waking, .saving:
        throw wrongState("woken")
      }
    }
  }

  /// Does not give up until the VM is known to run with its detour gone, or its QEMU is dead.
  ///
  /// In a task of its own: whoever gives up waiting for it does not make it give up.
  func ensureAwake(_ running: RunningMachine, cause: WakeCause) async {
    await Task { await insistOnWaking(running, cause: cause) }.value
  }

  private func insistOnWaking(_ running: RunningMachine, cause: WakeCause) async {
    var delay = Duration.milliseconds(100)
    while running.process.identity.isAlive {
      do {
        if case .awake(let outcome) = try await context.sentry.request(
          .wake(name: name, cause: cause))
        {
          await finishWaking(running, outcome)
          if try await running.monitor.queryStatus() == .running { return }
        }
      } catch {
        logger.warning("the sentry did not wake the VM", metadata: ["error": "\(error)"])
        if await wakeWithoutSentry(running, cause: cause) {
          // Should it hold frames behind a monitor that is stuck, it gives them to the VM now.
          _ = try? await context.sentry.request(.forget(name: name))
          afterSentryWork { await self.guardAnew() }
          return
        }
      }
      try? await Task.sleep(for: delay)
      delay = min(delay * 2, .seconds(2))
    }
  }

  /// Wakes the VM with the daemon's own hands. Returns whether it runs with its detour gone.
  func wakeWithoutSentry(_ running: RunningMachine, cause: WakeCause) async -> Bool {
    let began = ContinuousClock.now
    do {
      try await running.monitor.cont()
      let continued = ContinuousClock.now
      var held = 0
      if running.detour.isPossible {
        // Without a sentry that could be asked, what came in since its death waits in the detour tap.
        let tap = running.detour.machineTap
        held += (try? running.lines?.drainIntoGuest(past: tap)) ?? 0
        try running.detour.release(RouteNetlink())
        held += (try? running.lines?.drainIntoGuest(past: tap)) ?? 0
      }
      guard try await running.monitor.queryStatus() == .running else { return false }
      await finishWaking(
        running,
        WakeOutcome(
          cause: cause, flow: nil, firstFrameToContinueSeconds: 0,
          continueSeconds: (continued - began) / .seconds(1),
          totalSeconds: (ContinuousClock.now - began) / .seconds(1), heldFrames: held,
          droppedFrames: 0, answeredFrames: 0))
      return true
    } catch {
      logger.error("cannot wake the VM yet", metadata: ["error": "\(error)"])
      await noteFailure(
        code: DaemonError.Code.wakeFailed.rawValue,
        message: "\(name) does not continue yet (\(error)); its frames are held, trying on")
      return false
    }
  }

  /// As ``wakeWithoutSentry(_:cause:)``, until it succeeds, QEMU is dead, or another task has done it.
  func wakeByOwnHands(_ running: RunningMachine, cause: WakeCause) async {
    var delay = Duration.milliseconds(200)
    while !Task.isCancelled, running.process.identity.isAlive,
      await !wakeWithoutSentry(running, cause: cause)
    {
      try? await Task.sleep(for: delay)
      delay = min(delay * 2, .seconds(2))
    }
  }

  /// The sentry has sent `cont`: the guest is about to run.
  func sentryWakes(cause: WakeCause, flow: String?) async {
    switch state {
    case .fallingAsleep(_, let interruption):
      interruption.raise()
    case .asleep(let running, _):
      startWaking(running)
      await step(.noticed)
      await tell(
        .waking, "\(name) is waking: \(cause.rawValue)" + (flow.map { " (\($0))" } ?? ""),
        ["reason": cause.rawValue, "flow": flow ?? ""])
    case .waking, .awake, .saving, .stopped, .starting, .failed: return
    }
  }

  private func startWaking(_ running: RunningMachine) {
    startWakeWork(running)
    enter(.waking(running))
  }

  /// The VM runs and its detour is gone. Comes once from the sentry's notice and perhaps once more with
  /// the answer to an order: the second does nothing.
  func finishWaking(_ running: RunningMachine, _ outcome: WakeOutcome) async {
    switch state {
    case .asleep:
      startWaking(running)
      await finishWaking(running, outcome)
    case .waking:
      enter(.awake(running))
      await step(.finished)
      memo.wakes += 1
      memo.lastWake = WakeReport(
        at: Date(), reason: outcome.cause.rawValue, flow: outcome.flow,
        firstFrameToContinueSeconds: outcome.firstFrameToContinueSeconds,
        continueSeconds: outcome.continueSeconds, heldFrames: outcome.heldFrames,
        totalSeconds: outcome.totalSeconds, clockStepped: false, prefetchedBytes: prefetchedBytes)
      await saveHistory()
      await tell(
        .awake, "\(name) is awake: \(outcome.cause.rawValue)",
        [
          "reason": outcome.cause.rawValue, "flow": outcome.flow ?? "",
          "totalSeconds": "\(outcome.totalSeconds)", "heldFrames": "\(outcome.heldFrames)",
          "droppedFrames": "\(outcome.droppedFrames)",
          "answeredFrames": "\(outcome.answeredFrames)",
        ])
      stepClockSoon()
    case .fallingAsleep, .awake, .saving, .stopped, .starting, .failed: return
    }
  }

  /// The guest slept and its clock with it: tell it what time it is, and do not give up at the first try. On
  /// a host where many wake at once a guest may not get to answer for a while.
  func stepClockSoon() {
    let wake = memo.wakes
    Task {
      for (attempt, pause) in Self.clockPauses.enumerated() {
        try? await Task.sleep(for: pause)
        let isDone = await context.clockSteps.turn {
          // One that has stopped or fallen asleep meanwhile cannot answer; its next wake sets the clock.
          guard await self.isAwake(since: wake) else { return true }
          return await self.stepClock(after: wake, warns: attempt == 0)
        }
        if isDone { return }
      }
    }
  }

  private func isAwake(since wake: Int) -> Bool {
    if case .awake = state { memo.wakes == wake } else { false }
  }

  /// Sets the guest's clock by qemu-ga's guest-set-time. Returns whether it was set.
  private func stepClock(after wake: Int, warns: Bool) async -> Bool {
    do {
      let agent = try await guestAgent(within: Self.agentDeadline)
      defer { agent.close() }
      try await agent.setTime(Self.wallClockNanoseconds(), deadline: Self.clockDeadline)
      if memo.wakes == wake { memo.lastWake?.clockStepped = true }
      await saveHistory()
      return true
    } catch {
      guard warns, isAwake(since: wake) else { return false }
      logger.warning("the guest's clock was not set", metadata: ["error": "\(error)"])
      await tell(
        .warning,
        "\(name) is awake, but its clock could not be set: \(error); is qemu-guest-agent running "
          + "in it?", ["code": "clockNotSet"])
      return false
    }
  }

  private static func wallClockNanoseconds() -> Int64 {
    Int64(Date().timeIntervalSince1970 * 1e9)
  }
}
