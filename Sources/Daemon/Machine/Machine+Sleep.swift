import API
import FoundationEssentials
import Inventory
import LinuxMemory
import LinuxNetwork
import LinuxSystem
import QEMU
import Seamless
import ServiceLifecycle
import SuspendToSwap
import Templates

extension Machine {
  /// How long the guest gets to take the frames that were on their way when the detour went up.
  static let settlingTime = Duration.milliseconds(20)
  /// A guest that was paused for longer is told the time.
  static let noticeablePause = Duration.milliseconds(500)

  /// Puts the VM to sleep, or leaves it awake and reachable and says why.
  func sleep() async throws {
    try await inOrder {
      if case .asleep = state { return }
      guard !leaving else { throw DaemonError(.wrongState, "the daemon is about to end") }
      guard case .awake(let running) = state else { throw wrongState("put to sleep") }
      let interruption = Interruption()
      enter(.fallingAsleep(running, interruption))
      await tell(.fallingAsleep, "\(name) is falling asleep")
      var touched: ContinuousClock.Instant?
      do {
        try await prepareSleep(running)
        touched = .now
        let report = try await withGracefulShutdownHandler {
          try await fallAsleep(running, interruption)
        } onGracefulShutdown: {
          interruption.raise()
        }
        await context.swap.release(name)
        // A wake may have overtaken the last step.
        guard case .fallingAsleep = state, !interruption.isRaised else {
          throw SuspendError(.interrupted, "\(name) was woken while it was falling asleep")
        }
        enter(.asleep(running, report))
        deepenLater(running)
        memo.sleeps += 1
        await saveHistory()
        await tell(
          .asleep, "\(name) sleeps; \(report.releasedBytes >> 20) MiB went back to the host",
          [
            "releasedBytes": "\(report.releasedBytes)",
            "residentBytes": "\(report.residentBytes)",
            "durationSeconds": "\(report.durationSeconds)",
          ])
      } catch {
        await context.swap.release(name)
        await undoSleep(running, error, touched: touched)
        throw error
      }
    }
  }

  /// The daemon is about to end.
  func leave() {
    leaving = true
    if case .fallingAsleep(_, let interruption) = state { interruption.raise() }
  }

  /// The checks, which touch nothing.
  private func prepareSleep(_ running: RunningMachine) async throws {
    try await step(.preparing)
    let memoryBytes = request.memoryBytes
    let resident = try await onBlockingThread("preflight") {
      try GuestMemory(of: running.process, expectedBytes: memoryBytes).residentBytes()
    }
    try await context.swap.reserve(resident, for: name)
    try await refuseIfBusy()
  }

  private func fallAsleep(
    _ running: RunningMachine, _ interruption: Interruption
  ) async throws -> SleepReport {
    let began = ContinuousClock.now
    let memoryBytes = request.memoryBytes
    await endWakeWork()
    let record = await readWakeRecord(of: running)
    try await step(.arming)
    _ = try await context.sentry.request(.arm(name: name))
    // Now, as late as frames still reach the guest at once. What comes in meanwhile refuses the commit.
    await tellPorts(of: running)

    try await step(.detouring)
    let netlink = try RouteNetlink()
    try running.detour.engage(netlink)
    let deadline = ContinuousClock.now + Self.settlingTime
    while try running.hasFramesQueued(), ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(2))
    }

    try await step(.pausing)
    try await running.monitor.stop()
    guard try !running.hasFramesQueued() else {
      throw DaemonError(.inUse, "\(name) had frames waiting when it was paused")
    }

    try await step(.committing)
    _ = try await context.sentry.request(.commit(name: name))

    try await step(.pagingOut)
    let (paged, swapped, place) = try await onBlockingThread("page-out") {
      let memory = try GuestMemory(of: running.process, expectedBytes: memoryBytes)
      let report = try PageOut.run(
        memory, record: record, of: running.process, group: running.group,
        shouldContinue: { !interruption.isRaised })
      return (report, try memory.swappedBytes(), memory.place)
    }

    // From here on nobody asks QEMU anything before the wake: its own memory will be paged out, too, and
    // would come back piece by piece.
    await planWake(running, record: record, memory: place)
    let report = SleepReport(
      since: Date(), releasedBytes: paged.releasedBytes,
      residentBytes: paged.residentBytes + paged.swapCachedBytes,
      swapBytes: swapped,
      netGainBytes: paged.netGainBytes, touchedBytes: paged.touchedBytes,
      durationSeconds: (ContinuousClock.now - began) / .seconds(1))
    try await step(.asleep, payload: try APICoding.encoder().encode(report))
    return report
  }

  /// Asks the sentry whether the VM's flows are quiet.
  private func refuseIfBusy() async throws {
    guard record.bridge != nil else {
      throw DaemonError(
        .inUse, "\(name) has no network, so nothing could notice that it is needed again")
    }
    let traffic = try await context.sentry.traffic(of: name)
    noteTraffic(traffic)
    guard traffic.obstacles.isEmpty else {
      throw DaemonError(
        .inUse, "\(name) is in use: " + traffic.obstacles.joined(separator: "; "))
    }
    if let running = state.running { saveAcquaintance(of: running) }
  }

  func noteTraffic(_ traffic: TrafficReport) {
    if traffic.addresses != addresses, let running = state.running { saveAcquaintance(of: running) }
    addresses = traffic.addresses
    obstacles = traffic.obstacles
  }

  /// Whatever has happened on the way down: the VM runs and its frames reach it.
  private func undoSleep(
    _ running: RunningMachine, _ cause: any Error, touched: ContinuousClock.Instant?
  ) async {
    let (code, message) = describe(cause)
    logger.notice("did not fall asleep", metadata: ["code": "\(code)", "reason": "\(message)"])
    if touched != nil { await ensureAwake(running, cause: .undo) }
    if case .fallingAsleep = state { enter(.awake(running)) }
    if let touched, .now - touched > Self.noticeablePause { stepClockSoon() }
    await closeJournal("undone")
    let inUse = cause is DaemonError || (cause as? SentryError)?.code == .activity
    if !inUse { await noteFailure(code: code, message: message) }
    await tell(
      inUse || touched == nil ? .sleepRefused : .sleepFailed, message, ["code": code])
  }

  func describe(_ error: any Error) -> (code: String, message: String) {
    switch error {
    case let error as DaemonError: (error.code.rawValue, error.message)
    case let error as TemplateError: (error.code.rawValue, error.message)
    case let error as SuspendError: (error.code.rawValue, error.message)
    case let error as SentryError: (error.code.rawValue, error.message)
    case let error as LinuxError: (error.code.rawValue, error.message)
    case let error as InventoryError: (error.code.rawValue, error.message)
    case let error as QMPError: (error.code.rawValue, error.message)
    case let error as QEMUError: (error.code.rawValue, error.message)
    default: ("internal", "\(error)")
    }
  }
}
