import Glibc
import Inventory
import LinuxProcess
import LinuxSystem
import QEMU
import Seamless
import ServiceLifecycle

extension Machine {
  /// How long a guest gets to shut down.
  static let shutdownTime = Duration.seconds(90)
  /// How long QEMU gets to quit.
  static let quitTime = Duration.seconds(2)

  /// Stops the VM: the guest shuts down, or, by force, QEMU ends at once.
  func stop(force: Bool) async throws {
    if force { return try await stopByForce() }
    if case .asleep = state { try await wake() }
    if case .fallingAsleep(_, let interruption) = state { interruption.raise() }
    try await inOrder {
      await settled()
      guard let running = state.running else {
        if memo.running != nil {
          throw DaemonError(
            .wrongState, "QEMU of \(name) does not answer; stop it with --force")
        }
        if case .failed = state { enter(.stopped) }
        return
      }
      try await journalStop()
      do {
        try await askToShutDown(running)
        // A daemon that is to end does not wait for a guest.
        let ended = try await cancelWhenGracefulShutdown {
          try await running.process.waitForExit(timeout: Self.shutdownTime)
        }
        guard ended else {
          throw DaemonError(
            .wrongState,
            "\(name) did not shut down within \(Self.shutdownTime); stop it with --force")
        }
      } catch {
        let name = name
        _ = try? await context.inventory.write { transaction in
          try transaction.update(name) { $0.desiredState = .running }
        }
        await closeJournal("given up")
        throw error
      }
      await forget(running, then: .stopped)
    }
  }

  /// Presses the power button, and tells the guest agent as well: a small guest may have nobody who heeds
  /// the button, another one no agent. Either suffices.
  private func askToShutDown(_ running: RunningMachine) async throws {
    try await running.monitor.systemPowerdown()
    do {
      let agent = try await GuestAgentClient.connect(
        path: context.directory.machine(name).agentSocket, deadline: .seconds(2))
      defer { agent.close() }
      try await agent.shutDown()
    } catch {
      logger.debug("no guest agent to shut down by", metadata: ["reason": "\(error)"])
    }
  }

  /// Does not wait for other orders: one of them may be waiting for the guest, or for a QEMU that is silent.
  private func stopByForce() async throws {
    if let process = state.running?.runtime.process ?? memo.running?.process {
      endOrdered = process
      // A full disk keeps nobody from ending a VM.
      try? await journalStop()
      try? await state.running?.monitor.quit(deadline: Self.quitTime)
      try await Self.end(process, within: Self.quitTime)
    }
    await inOrder {
      if let running = state.running, !running.process.identity.isAlive {
        await forget(running, then: .stopped)
      }
      if let runtime = memo.running, !runtime.process.isAlive {
        clearUp(behind: runtime)
        enter(.stopped)
        await saveHistory()
        await closeJournal("stopped")
        await tell(.stopped, "\(name) has stopped")
      }
      if case .failed = state { enter(.stopped) }
    }
  }

  /// - Throws: `LinuxError` when the process cannot be killed.
  static func end(_ identity: ProcessIdentity, within time: Duration) async throws {
    guard identity.isAlive else { return }
    let process = try ProcessHandle(opening: identity)
    if try await process.waitForExit(timeout: .milliseconds(500)) { return }
    try process.signal(SIGKILL)
    _ = try await process.waitForExit(timeout: time)
    _ = try process.reap()
  }

  /// An end that is found by the next daemon was asked for, then.
  private func journalStop() async throws {
    let name = name
    try await context.inventory.write { transaction in
      try transaction.begin(.stop, of: name, step: "stopping")
      try transaction.update(name) { $0.desiredState = .stopped }
    }
  }

  /// QEMU's process has ended, by itself or not.
  func processEnded(_ running: RunningMachine, guestShutDown: Bool) async {
    // An order that waits for a wake to end would wait for ever.
    if case .waking(let current) = state, current.process.identity == running.process.identity {
      enter(.awake(current))
    }
    await inOrder {
      guard state.running?.process.identity == running.process.identity else { return }
      if guestShutDown || endOrdered == running.process.identity {
        await forget(running, then: .stopped)
        return
      }
      let message = "QEMU of \(name) has died; it is not restarted by itself"
      await noteFailure(code: "died", message: message)
      await forget(running, then: .failed)
      await tell(.died, message)
    }
  }

  /// Clears up behind a QEMU that has ended.
  func forget(_ running: RunningMachine, then final: MachineState) async {
    _ = try? running.process.reap()
    enter(final)
    _ = try? await context.sentry.request(.forget(name: name))
    running.monitor.close()
    endDeepening()
    wakePlan = nil
    await endWakeWork()
    obstacles = []
    clearUp(behind: running.runtime)
    await saveHistory()
    await closeJournal("stopped")
    if case .stopped = final { await tell(.stopped, "\(name) has stopped") }
  }

  /// Removes what a QEMU that has ended leaves in the file system.
  func clearUp(behind runtime: RuntimeRecord) {
    memo.running = nil
    context.directory.machine(name).removeSockets()
    guard let groups = context.groups, let path = runtime.controlGroup else { return }
    do {
      try groups.group(at: path).remove()
    } catch {
      logger.warning("cannot remove the control group", metadata: ["error": "\(error)"])
    }
  }

  /// Deletes the VM's record; its disk belongs to the user and stays.
  func delete() async throws {
    try await inOrder {
      switch state {
      case .stopped, .failed: break
      case .starting, .awake, .fallingAsleep, .asleep, .waking, .saving:
        throw DaemonError(.wrongState, "\(name) is \(stateName.rawValue); stop it first")
      }
      if let running = memo.running, running.process.isAlive {
        throw DaemonError(
          .wrongState, "QEMU of \(name) still runs but does not answer; stop it with --force first")
      }
      // The name may be another VM's by now.
      guard !deleted else { return }
      let name = name
      try await context.inventory.write { try $0.delete(name) }
      deleted = true
      context.directory.machine(name).remove()
    }
  }
}
