/// What a machine is doing (QEMU: qapi/run-state.json, RunState).
public enum RunState: Sendable, Hashable {
  case running
  /// Stopped by `stop`.
  case paused
  /// Started with `-S` and never continued.
  case prelaunch
  /// Waits for an incoming migration, or receives one.
  case inMigrate
  /// Paused at the end of an outgoing migration.
  case finishMigrate
  /// Has been migrated away.
  case postMigrate
  /// Stopped by a failure inside QEMU or KVM; it cannot go on.
  case internalError
  /// Stopped because a disk failed or is full.
  case ioError
  /// The guest has shut down and QEMU stays.
  case shutdown
  /// In ACPI S3.
  case suspended
  case guestPanicked
  /// A state that is not told apart here.
  case other(String)

  init(name: String) {
    self =
      switch name {
      case "running": .running
      case "paused": .paused
      case "prelaunch": .prelaunch
      case "inmigrate": .inMigrate
      case "finish-migrate": .finishMigrate
      case "postmigrate": .postMigrate
      case "internal-error": .internalError
      case "io-error": .ioError
      case "shutdown": .shutdown
      case "suspended": .suspended
      case "guest-panicked": .guestPanicked
      default: .other(name)
      }
  }
}

extension QMPClient {
  /// `query-status`.
  public func queryStatus(deadline: Duration = .seconds(5)) async throws(QMPError) -> RunState {
    guard let name = try await execute("query-status", deadline: deadline)["status"]?.stringValue
    else { throw .unexpected("query-status") }
    return RunState(name: name)
  }

  /// `stop`: halts the virtual CPUs. Returns when they stand still and all disk writes are done.
  public func stop(deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("stop", deadline: deadline)
  }

  /// `cont`: lets the virtual CPUs go on.
  public func cont(deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("cont", deadline: deadline)
  }

  /// `system_powerdown`: presses the power button. The guest decides what follows.
  public func systemPowerdown(deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("system_powerdown", deadline: deadline)
  }

  /// `quit`: ends QEMU at once, whatever the guest is doing. A connection that closes before the answer
  /// has come is success; the process may still take a moment.
  public func quit(deadline: Duration = .seconds(5)) async throws(QMPError) {
    do throws(QMPError) {
      try await execute("quit", deadline: deadline)
    } catch  where error.code == .closed {
      return
    }
  }
}
