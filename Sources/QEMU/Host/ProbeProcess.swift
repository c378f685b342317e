import Glibc
import LinuxProcess
import LinuxSystem

/// A QEMU that is started to be asked something, and killed after that.
struct ProbeProcess: Sendable {
  let binary: String
  /// What it means when it fails; QEMU's own complaint is added.
  let failure: String
  let credentials: Credentials?
  /// What it is to be, beside stopped and with a monitor.
  let arguments: [String]
  /// More descriptors to inherit, from number 4 on.
  var descriptors: [CInt: CInt] = [:]

  /// Starts it, asks over its monitor, ends it.
  ///
  /// - Throws: ``QEMUError/Code/binary`` with QEMU's own complaint when that does not come about.
  func run<Answer: Sendable>(
    deadline: Duration, ask: (QMPClient) async throws(QMPError) -> Answer
  ) async throws(QEMUError) -> Answer {
    let complaints = try Complaints()
    let ends = try SocketPair(waiting: true)
    let identity = try await start(monitor: ends.theirs, complaints: complaints)
    let result: Result<Answer, QMPError>
    do throws(QMPError) {
      let monitor = try await QMPClient.adopt(ends.takeOurs(), deadline: deadline)
      result = .success(try await ask(monitor))
      monitor.close()
    } catch {
      result = .failure(error)
    }
    await ProbeProcess.end(identity)
    switch result {
    case .success(let answer):
      return answer
    case .failure(let error):
      let complaint = complaints.recent() ?? error.message
      throw QEMUError(.binary, "\(failure): \(complaint)", cause: error)
    }
  }

  private func start(
    monitor: borrowing OwnedFileDescriptor, complaints: Complaints
  ) async throws(QEMUError) -> ProcessIdentity {
    var descriptors = descriptors
    descriptors[2] = complaints.inlet
    descriptors[3] = monitor.rawValue
    return try await VirtualMachineProcess.start(
      LaunchConfiguration(
        executable: binary,
        arguments: [
          "-nodefaults", "-no-user-config", "-display", "none", "-S",
          "-chardev", "socket,id=monitor0,fd=3", "-mon", "chardev=monitor0,mode=control",
        ] + arguments,
        descriptors: descriptors, credentials: credentials))
  }

  /// In a task of its own, so that a cancelled caller leaves no process behind either.
  private static func end(_ identity: ProcessIdentity) async {
    await Task {
      guard let process = try? ProcessHandle(opening: identity) else { return }
      try? process.signal(SIGKILL)
      _ = try? await process.waitForExit(timeout: .seconds(5))
      _ = try? process.reap()
    }.value
  }
}
