import CLinux
public import LinuxSystem
import SystemPackage

/// How a process ended.
public enum ExitStatus: Hashable, Sendable {
  /// It ended by itself, with this status (0 to 255).
  case exited(Int32)
  /// A signal ended it.
  case signaled(Int32, coreDumped: Bool)
}

/// A hold on one process (pidfd_open(2)): whatever is done through it reaches that process or none, never
/// a later one with the same pid. Holding it keeps no process alive.
public struct ProcessHandle: ~Copyable, Sendable {
  public let identity: ProcessIdentity
  private let pidfd: OwnedFileDescriptor

  /// Opens the process, alive or a zombie.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when it no longer exists, even if its pid does.
  public init(opening identity: ProcessIdentity) throws(LinuxError) {
    let pidfd = OwnedFileDescriptor(
      owning: try checked("open process \(identity.pid)", dormouse_pidfd_open(identity.pid)))
    // Once the pidfd is there, a matching start time proves that it is the right process's.
    guard try ProcessIdentity.of(pid: identity.pid) == identity else {
      throw LinuxError(
        code: .gone, message: "\(identity) has ended; its number belongs to another one now")
    }
    self.identity = identity
    self.pidfd = pidfd
  }

  /// The pidfd's number: readable once the process has ended. Valid for as long as this value lives.
  public var descriptor: CInt { pidfd.rawValue }

  /// Sends a signal; 0 only checks.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when the process has ended.
  public borrowing func signal(_ number: CInt) throws(LinuxError) {
    try checked(
      "send signal \(number) to process \(identity.pid)",
      dormouse_pidfd_send_signal(pidfd.rawValue, number))
  }

  /// Waits until the process has ended (it may still have to be reaped).
  ///
  /// - Parameter timeout: nil waits for ever.
  /// - Returns: false when the time is over.
  /// - Throws: `CancellationError`, ``LinuxError``.
  public borrowing func waitForExit(timeout: Duration?) async throws -> Bool {
    try await ReadinessMonitor.shared.wait(untilReadable: pidfd.rawValue, timeout: timeout)
  }

  /// Takes the exit status of a child that has ended, which removes the zombie.
  ///
  /// - Returns: nil while it runs, and for processes that are not children of this one (those are reaped by
  ///   their own parent, or by init when that is gone).
  public borrowing func reap() throws(LinuxError) -> ExitStatus? {
    var reason: CInt = 0
    var status: CInt = 0
    let reaped: CInt
    do throws(Errno) {
      reaped = try checked(dormouse_pidfd_reap(pidfd.rawValue, &reason, &status))
    } catch .noChildProcess {
      return nil
    } catch {
      throw LinuxError("reap process \(identity.pid)", error)
    }
    guard reaped == 1 else { return nil }
    return reason == dormouse_child_exited
      ? .exited(status) : .signaled(status, coreDumped: reason == dormouse_child_dumped)
  }

  /// A descriptor of our own for a file that the process has open (pidfd_getfd(2)); needs the right to
  /// trace it.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when the process has ended; EBADF when it has no such descriptor.
  public borrowing func duplicateDescriptor(
    _ remote: CInt
  ) throws(LinuxError) -> OwnedFileDescriptor {
    OwnedFileDescriptor(
      owning: try checked(
        "get descriptor \(remote) of process \(identity.pid)",
        dormouse_pidfd_getfd(pidfd.rawValue, remote)))
  }
}
