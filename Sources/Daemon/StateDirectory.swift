import FoundationEssentials
import Glibc
import LinuxSystem

/// The daemon's own directory and the names in it. Only root may look inside.
///
/// ```
/// DIR/lock                    held by the daemon that owns the directory
/// DIR/inventory.sqlite        records, journal, events
/// DIR/sentry.sock, sentry.log, sentry.process
/// DIR/machines/NAME/          monitor.sock, sentry.sock, agent.sock, acquaintance, wake-record, kernel,
///                             initrd
/// ```
package struct StateDirectory: Sendable {
  package let path: String

  package init(path: String) {
    self.path = path
  }

  var inventory: String { path + "/inventory.sqlite" }
  var sentrySocket: String { path + "/sentry.sock" }
  var sentryLog: String { path + "/sentry.log" }
  /// Which process the sentry is, for a daemon that cannot ask it.
  var sentryProcess: String { path + "/sentry.process" }

  func machine(_ name: String) -> MachineDirectory {
    MachineDirectory(path: path + "/machines/" + name)
  }

  /// Makes the directory and takes it for this process alone.
  ///
  /// - Returns: the lock, held for as long as the descriptor is open.
  package func claim() throws -> OwnedFileDescriptor {
    try Self.makeDirectory(path)
    try Self.makeDirectory(path + "/machines")
    try Self.close(path)
    let lock = OwnedFileDescriptor(
      owning: try checked(
        "make \(path)/lock",
        open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)))
    guard flock(lock.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      throw DaemonError(
        .stateDirectoryInUse,
        "another daemon uses \(path); stop it first, or give this one a --state-dir of its own")
    }
    return lock
  }

  /// A directory that was there before may be open to others, or theirs.
  private static func close(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0, status.st_uid == geteuid(), chmod(path, 0o700) == 0 else {
      throw DaemonError(
        .stateDirectory,
        "\(path) belongs to somebody else; give the daemon a --state-dir of its own")
    }
  }

  static func makeDirectory(_ path: String) throws {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw DaemonError(.stateDirectory, "cannot make the directory \(path): \(error)")
    }
  }
}

/// One VM's part of the state directory.
struct MachineDirectory: Sendable {
  let path: String

  var monitorSocket: String { path + "/monitor.sock" }
  var sentryMonitorSocket: String { path + "/sentry.sock" }
  var agentSocket: String { path + "/agent.sock" }
  /// What the sentry has learned of the guest, for the case that it dies together with the daemon.
  var acquaintance: String { path + "/acquaintance" }
  /// What the wakes of the QEMU that runs now have used, and in which order.
  var wakeRecord: String { path + "/wake-record" }
  var kernel: String { path + "/kernel" }
  var initrd: String { path + "/initrd" }

  func make() throws { try StateDirectory.makeDirectory(path) }

  /// Removes the directory with what the daemon has put there; anything else in it stays, and so does the
  /// directory then.
  func remove() {
    removeSockets()
    for file in [kernel, initrd] { unlink(file) }
    rmdir(path)
  }

  /// Removes what belongs to one run of the VM.
  func removeSockets() {
    for file in [monitorSocket, sentryMonitorSocket, agentSocket, acquaintance, wakeRecord] {
      unlink(file)
    }
  }
}
