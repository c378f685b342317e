import API
import FoundationEssentials
import LinuxMemory
import LinuxSystem
import SuspendToSwap

/// The second stage of a sleep: QEMU's own memory follows its guest's to swap.
///
/// Not at once: a VM that slept for seconds shall wake at its fastest, and one that sleeps for hours shall
/// cost next to nothing. It changes nothing for the sentry, nor for a daemon that dies meanwhile: the VM is
/// asleep before, meanwhile and afterwards.
extension Machine {
  /// What is being done, or waited for, to deepen a sleep.
  struct Deepening: Sendable {
    let interruption: Interruption
    let task: Task<Void, Never>
  }

  /// Where a test kills the daemon while it pages QEMU out.
  static let deepeningFailpoint = "deepen.pagingOut"

  /// Deepens the present sleep when it has lasted long enough.
  func deepenLater(_ running: RunningMachine) {
    let interruption = Interruption()
    let delay = context.configuration.deepAfter
    deepening = Deepening(
      interruption: interruption,
      task: Task {
        do {
          try await Task.sleep(for: delay)
          try await self.deepen(running, interruption)
        } catch is CancellationError {
          return
        } catch {
          // Not a part of this task: the next order may be waiting for its end.
          Task { await self.deepeningFailed(running, error) }
        }
      })
  }

  /// Nobody waits for it here: what is under way stops at the next portion.
  func endDeepening() {
    deepening?.interruption.raise()
    deepening?.task.cancel()
  }

  private func deepen(_ running: RunningMachine, _ interruption: Interruption) async throws {
    guard case .asleep = state, !interruption.isRaised, let plan = wakePlan else { return }
    let pid = running.runtime.process.pid
    let needed = try await onBlockingThread("deepen") {
      try ProcessMemory.of(pid: pid).anonymousBytes
    }
    try await context.swap.reserve(needed, for: name)
    let keeping = keepsFirstPages
    context.configuration.failpoints.reach(Self.deepeningFailpoint)
    let outcome: Result<OwnPageOutReport, any Error>
    do {
      outcome = .success(
        try await onBlockingThread("deepen") {
          try PageOut.runOwn(
            beside: plan.place, record: plan.record, keeping: keeping, of: running.process,
            group: running.group, shouldContinue: { !interruption.isRaised })
        })
    } catch {
      outcome = .failure(error)
    }
    await context.swap.release(name)
    let own = try outcome.get()
    let deep = try await onBlockingThread("plan") {
      try WakePlan(record: plan.record, memory: plan.place, of: running.process)
    }
    guard case .asleep(_, var report) = state, !interruption.isRaised else { return }
    wakePlan = deep
    report.qemuReleasedBytes = own.releasedBytes
    report.processResidentBytes = own.proportionalBytesAfter
    report.netGainBytes += Int64(own.releasedBytes) - Int64(own.poolGrowthBytes)
    let name = name
    let payload = try APICoding.encoder().encode(report)
    // Before anybody is told: the next daemon shall know it, too.
    try await context.inventory.write { transaction in
      // A wake may have begun meanwhile.
      guard let entry = try transaction.currentStep(name), entry.transition == .sleep else {
        return
      }
      try transaction.advance(name, to: SleepStep.asleep.rawValue, payload: payload)
    }
    guard !interruption.isRaised else { return }
    amend(report)
  }

  /// In doubt, awake. But where nothing has been touched yet, the VM sleeps on as it is.
  private func deepeningFailed(_ running: RunningMachine, _ cause: any Error) async {
    let (code, message) = describe(cause)
    if let error = cause as? SuspendError,
      [.interrupted, .swapShort, .noSwap].contains(error.code)
    {
      logger.notice("QEMU's own memory stays", metadata: ["reason": "\(message)"])
      return
    }
    await noteFailure(code: code, message: message)
    await inOrder {
      guard case .asleep(let current, _) = state,
        current.process.identity == running.process.identity
      else { return }
      await tell(.sleepFailed, message, ["code": code])
      await ensureAwake(current, cause: .undo)
      await settled()
    }
  }
}
