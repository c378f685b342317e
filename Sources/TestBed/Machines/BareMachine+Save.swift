import Glibc
import LinuxSystem
public import QEMU

/// A machine whose memory and devices lie in a file, with no QEMU: what one does today to get an idle
/// machine's memory back.
public struct SavedMachine: Sendable {
  let setup: BareMachine.Setup
  let file: String

  /// Starts a QEMU that goes on where the machine was saved, and lets it run.
  public func restore(within deadline: Duration = .seconds(60)) async throws -> BareMachine {
    let machine = try await BareMachine(setup, incoming: ["-incoming", "defer"])
    let monitor = try await machine.connectMonitor()
    defer { monitor.close() }
    try await monitor.loadState(from: file, deadline: deadline)
    try await monitor.cont()
    return machine
  }
}

extension BareMachine {
  /// A conversation with QEMU's monitor; waits until QEMU listens.
  public func connectMonitor(within deadline: Duration = .seconds(10)) async throws -> QMPClient {
    let path = monitor
    return try await eventually("QEMU's monitor", within: deadline, every: .milliseconds(2)) {
      do throws(QMPError) {
        return try await QMPClient.connect(path: path)
      } catch  where error.code == .connect {
        return nil
      }
    }
  }

  /// Stops the machine, writes it to a file and ends QEMU. The file is on the disk afterwards and no
  /// longer in memory: that is what it is saved for.
  public func save(within deadline: Duration = .seconds(120)) async throws -> SavedMachine {
    let file = setup.directory + "/saved"
    let monitor = try await connectMonitor()
    try await monitor.stop()
    try await monitor.saveState(to: file, deadline: deadline)
    try await monitor.quit()
    monitor.close()
    try await process.waitForExit(within: .seconds(10))
    // The next one listens at the same place; nobody must connect to what this one has left.
    unlink(self.monitor)
    unlink(agent)
    try await onBlockingThread("save") {
      let saved = OwnedFileDescriptor(
        owning: try checked("open \(file)", open(file, O_RDONLY | O_CLOEXEC)))
      try checked("write \(file) to the disk", fsync(saved.rawValue))
      let failure = posix_fadvise(saved.rawValue, 0, 0, POSIX_FADV_DONTNEED)
      guard failure == 0 else {
        throw TestBedError(code: .command, message: "cannot take \(file) out of memory")
      }
    }
    return SavedMachine(setup: setup, file: file)
  }
}
