import Glibc
import LinuxProcess
import LinuxSystem

/// A child of the test, killed and reaped at the end.
struct Child: ~Copyable {
  let handle: ProcessHandle

  init(_ configuration: LaunchConfiguration) throws {
    handle = try ProcessHandle(opening: try launchDetached(configuration))
  }

  /// `sh -c script` with a usable PATH.
  init(
    shell script: String, descriptors: [CInt: CInt] = [:], groupFiles: [String] = []
  ) throws {
    try self.init(
      LaunchConfiguration(
        executable: "/bin/sh", arguments: ["-c", script], environment: ["PATH": searchPath],
        descriptors: descriptors, controlGroupProcessFiles: groupFiles))
  }

  var pid: Int32 { handle.identity.pid }

  /// Waits until the program is the shell's last one and sleeps: the loader, which opens files of its own,
  /// is done then.
  borrowing func untilRunning(_ program: String) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      let comm = try KernelFile.text("/proc/\(pid)/comm")
      let place = try KernelFile.text("/proc/\(pid)/wchan")
      if comm == "\(program)\n", place.contains("nanosleep") { return }
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Waits for the end and takes the status.
  borrowing func end(within timeout: Duration = .seconds(20)) async throws -> ExitStatus? {
    guard try await handle.waitForExit(timeout: timeout) else { return nil }
    return try handle.reap()
  }

  deinit {
    try? handle.signal(SIGKILL)
    var information = siginfo_t()
    // Waits for the kill to take effect; there is nothing to do about a failure.
    _ = waitid(P_PID, id_t(handle.identity.pid), &information, WEXITED)
  }
}

let searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"

/// What a shell script prints, and how it ends.
func output(of script: String) async throws -> (text: String, status: ExitStatus?) {
  let pipe = try Pipe()
  let child = try Child(shell: script, descriptors: [1: pipe.writing, 2: pipe.writing])
  let text = try await pipe.text()
  return (text, try await child.end())
}
