import Glibc
import LinuxProcess
import LinuxSystem
import QEMU
import Seamless

extension Machine {
  /// How long a guest gets to shut down.
  static let shutdownTime = Duration.seconds(90)
  /// How long QEMU gets to quit.
  static let quitTime = Duration.seconds(5)

  /// Stops the VM: the guest shuts down, or, by force, QEMU ends at once.
  func stop(force: Bool) async throws {
    if case .asleep = state, !force { try await wake() }
    if case .fallingAsleep(_, let interruption) = state { interruption.raise() }
    try await inOrder {
      await settled()
      guard let running = state.running else {
        if case .failed = state { enter(.stopped) }
        return
      }
      if !force {
        try await running.monitor.systemPowerdown()
        if try await running.process.waitForExit(timeout: Self.shutdownTime) {
          return await forget(running, then: .stopped)
        }
        throw DaemonError(
          .wrongState,
          "\(name) did not shut down within \(Self.shutdownTime); stop it with --force")
      }
      try? await running.monitor.quit()
      if try await !running.process.waitForExit(timeout: Self.quitTime) {
        try running.process.signal(SIGKILL)
        _ = try await running.process.waitForExit(timeout: Self.quitTime)
      }
      await forget(running, then: .stopped)
    }
  }

  /// QEMU's process has ended, by itself or not.
  func processEnded(_ running: RunningMachine, guestShutDown: Bool) async {
    await inOrder {
      guard state.running?.process.identity == running.process.identity else { return }
      if guestShutDown {
        await forget(running, then: .stopped)
        return
      }
      await forget(running, then: .failed)
      let message = "QEMU of \(name) has died; it is not restarted by itself"
      await noteFailure(code: "died", message: message)
      await tell(.died, message)
    }
  }

  /// Clears up behind a QEMU that has ended.
  private func forget(_ running: RunningMachine, then final: MachineState) async {
    _ = try? running.process.reap()
    enter(final)
    _ = try? await context.sentry.request(.forget(name: name))
    running.monitor.close()
    if let group = running.group {
      do {
        try group.remove()
      } catch {
        logger.warning("cannot remove the control group", metadata: ["error": "\(error)"])
      }
    }
    context.directory.machine(name).removeSockets()
    workingSet = nil
    obstacles = []
    memo.running = nil
    let name = name
    await saveHistory()
    _ = try? await context.inventory.write { transaction in
      try transaction.update(name) { $0.desiredState = .stopped }
    }
    await closeJournal("stopped")
    if case .stopped = final { await tell(.stopped, "\(name) has stopped") }
  }

  /// Deletes the VM's record; its disk belongs to the user and stays.
  func delete() async throws {
    try await inOrder {
      switch state {
      case .stopped, .failed: break
      case .starting, .awake, .fallingAsleep, .asleep, .waking:
        throw DaemonError(.wrongState, "\(name) is \(stateName.rawValue); stop it first")
      }
      let name = name
      try await context.inventory.write { try $0.delete(name) }
      context.directory.machine(name).remove()
    }
  }
}
