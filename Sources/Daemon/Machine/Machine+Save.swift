import API
import FoundationEssentials
import Inventory
import LinuxSystem
import QEMU
import Seamless
import SuspendToSwap
import Templates

/// Saving a machine as a template.
extension Machine {
  /// How long QEMU gets to write the state.
  static let savingTime = Duration.seconds(300)

  /// Writes the VM's state into a directory made for it, and stops the VM there: its disk must stay as the
  /// state has seen it. When that fails the VM runs on.
  func save(to path: String) async throws {
    if case .asleep = state { try await wake() }
    if case .fallingAsleep(_, let interruption) = state { interruption.raise() }
    try await inOrder {
      await settled()
      guard !leaving, case .awake(let running) = state, let description else {
        throw wrongState("saved")
      }
      let draft = try await prepareSave(running, to: path)
      let began = ContinuousClock.now
      enter(.saving(running))
      do {
        try await write(running, description, to: draft)
      } catch {
        await undoSave(running, draft, error, took: .now - began)
        throw error
      }
      try await finishSave(running, at: path)
    }
  }

  /// The checks, and the directory. Nothing is done to the VM.
  private func prepareSave(_ running: RunningMachine, to path: String) async throws
    -> TemplateDraft
  {
    let memoryBytes = request.memoryBytes
    return try await onBlockingThread("prepare template") {
      let memory = try GuestMemory(of: running.process, expectedBytes: memoryBytes)
      return try TemplateDraft.make(
        at: path, needing: try memory.residentBytes() + memory.swappedBytes())
    }
  }

  private func write(
    _ running: RunningMachine, _ description: MachineDescription, to draft: TemplateDraft
  ) async throws {
    let name = name
    let payload = try APICoding.encoder().encode(draft.path)
    try await context.inventory.write { transaction in
      try transaction.begin(.save, of: name, step: SaveStep.saving.rawValue, payload: payload)
    }
    reach(SaveStep.saving)
    // Its monitor is the way for the descriptor, and what is about to end needs no guard. A sentry that
    // does not answer holds the monitor, and the save fails.
    _ = try? await context.sentry.request(.forget(name: name))
    try await running.monitor.stop()
    let monitor = context.directory.machine(name).sentryMonitorSocket
    let file = try await onBlockingThread("give descriptor") {
      try StateFileGift.give(
        draft.state.number, byMonitorAt: monitor, deadline: .seconds(10))
    }
    do {
      try await running.monitor.saveState(to: file, deadline: Self.savingTime)
    } catch {
      throw DaemonError(.saveFailed, "QEMU could not write the state of \(name): \(error)")
    }
    reach(SaveStep.written)
    let diskBytes = try await diskBytes()
    let version = running.monitor.greeting.version
    let files = (
      kernel: description.kernel?.kernel, initrd: description.kernel?.initrd
    )
    try await onBlockingThread("complete template") {
      try draft.complete(
        TemplateManifest(
          qemu: version, machine: description, stateBytes: draft.stateBytes(),
          diskBytes: diskBytes),
        kernel: files.kernel, initrd: files.initrd)
    }
    try await context.inventory.write { transaction in
      try transaction.update(name) { $0.desiredState = .stopped }
      try transaction.advance(name, to: SaveStep.ending.rawValue, payload: payload)
    }
    reach(SaveStep.ending)
  }

  private func diskBytes() async throws -> UInt64? {
    guard let image = request.image else { return nil }
    return try await DiskImage.inspect(path: image).virtualSize
  }

  /// From here on there is no way back: the guest's next step on its disk would spoil the template.
  private func finishSave(_ running: RunningMachine, at path: String) async throws {
    endOrdered = running.process.identity
    try? await running.monitor.quit(deadline: Self.quitTime)
    try await Self.end(running.process.identity, within: Self.quitTime)
    reach(SaveStep.ended)
    let published = await publishTemplate(at: path)
    await forget(running, then: .stopped)
    guard published else {
      throw DaemonError(
        .saveFailed, "\(name) is stopped, but its template at \(path) could not be finished")
    }
    await tellSaved(at: path)
  }

  private func tellSaved(at path: String) async {
    await tell(.saved, "\(name) was saved as a template at \(path)", ["directory": path])
  }

  private func publishTemplate(at path: String) async -> Bool {
    do {
      try await onBlockingThread("publish template") { try TemplateDraft.publish(path) }
      return true
    } catch {
      logger.error("cannot finish the template", metadata: ["error": "\(error)"])
      return false
    }
  }

  /// Whatever has happened: the VM runs, and nothing of the template stays.
  private func undoSave(
    _ running: RunningMachine, _ draft: TemplateDraft, _ cause: any Error, took: Duration
  ) async {
    let (code, message) = describe(cause)
    await wakeByOwnHands(running, cause: .undo)
    if case .saving = state { enter(.awake(running)) }
    try? await running.monitor.closeStateFiles()
    try? await onBlockingThread("discard template") { TemplateDraft.discard(draft.path) }
    let name = name
    _ = try? await context.inventory.write { transaction in
      try transaction.update(name) { $0.desiredState = .running }
    }
    await closeJournal("undone")
    await noteFailure(code: code, message: message)
    await tell(.saveFailed, message, ["code": code])
    if took > Self.noticeablePause { stepClockSoon() }
    afterSentryWork { await self.guardAnew() }
  }

  // MARK: - After a crash of the daemon

  /// Puts right what a daemon that died has left of a save: it is finished from the step on at which the VM
  /// was to end, and forgotten before that.
  ///
  /// - Returns: whether the VM has stopped; otherwise it is to run.
  func resumeSave(_ entry: JournalEntry) async -> Bool {
    guard let payload = entry.payload,
      let path = try? APICoding.decoder().decode(String.self, from: payload)
    else { return false }
    guard entry.step == SaveStep.ending.rawValue else {
      try? await onBlockingThread("discard template") { TemplateDraft.discard(path) }
      return false
    }
    if let runtime = memo.running {
      do {
        try await Self.end(runtime.process, within: Self.quitTime)
      } catch {
        logger.error("cannot end a QEMU that has been saved", metadata: ["error": "\(error)"])
        return false
      }
      clearUp(behind: runtime)
    }
    let published = await publishTemplate(at: path)
    _ = try? await context.sentry.request(.forget(name: name))
    enter(.stopped)
    await saveHistory()
    await closeJournal(published ? "saved" : "failed")
    if published {
      await tellSaved(at: path)
    } else {
      await tell(
        .saveFailed, "\(name) is stopped, but its template at \(path) could not be finished",
        ["code": DaemonError.Code.saveFailed.rawValue])
    }
    return true
  }

  /// Gives a test the chance to kill the daemon at this step.
  private func reach(_ step: SaveStep) {
    context.configuration.failpoints.reach(step.failpoint)
  }
}
