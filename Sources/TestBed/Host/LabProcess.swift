import FoundationEssentials
import Glibc
import LinuxProcess
import LinuxSystem

/// A program that the lab has started and that goes on by itself. It ends with the lab at the latest.
public final class LabProcess: Sendable {
  /// What it is, for messages.
  public let name: String
  /// The file that has its standard output and standard error.
  public let log: String
  private let handle: ProcessHandle

  /// Starts a program with its output in a log file, which ``TestFailureLog`` shows when a test fails.
  ///
  /// - Parameters:
  ///   - words: path of the program, and its arguments.
  ///   - namespace: the network namespace to start it in.
  ///   - environment: on top of PATH, HOME and TMPDIR.
  ///   - descriptors: what it has open besides, number there to number here; 1 and 2 are the log unless
  ///     given.
  public init(
    _ words: [String], in namespace: Namespace, log: String, environment: [String: String] = [:],
    descriptors: [CInt: CInt] = [:]
  ) async throws {
    guard let program = words.first else {
      throw TestBedError(code: .malformed, message: "an empty command")
    }
    name = program.split(separator: "/").last.map(String.init) ?? program
    self.log = log
    TestFailureLog.add(log)
    let file = OwnedFileDescriptor(
      owning: try checked(
        "open \(log)", open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)))
    var all: [CInt: CInt] = [1: file.rawValue, 2: file.rawValue]
    all.merge(descriptors) { $1 }
    var variables: [String: String] = [:]
    for name in ["PATH", "HOME", "TMPDIR", "DORMOUSE_CONTROL_GROUP"] {
      variables[name] = TestBed.environment(name)
    }
    variables.merge(environment) { $1 }
    let identity = try await namespace.launch(
      LaunchConfiguration(
        executable: program, arguments: Array(words.dropFirst()), environment: variables,
        descriptors: all))
    handle = try ProcessHandle(opening: identity)
    withExtendedLifetime(file) {}
  }

  public var pid: Int32 { handle.identity.pid }

  /// Sends a signal; one that has ended gets none.
  public func signal(_ number: CInt) throws {
    do throws(LinuxError) {
      try handle.signal(number)
    } catch  where error.code == .gone {
    }
  }

  /// Whether it still runs.
  public func isRunning() async throws -> Bool {
    try await !handle.waitForExit(timeout: .zero)
  }

  /// Waits for its end.
  ///
  /// - Throws: ``TestBedError/Code/deadline``.
  public func waitForExit(within deadline: Duration) async throws {
    guard try await handle.waitForExit(timeout: deadline) else {
      throw TestBedError(
        code: .deadline, message: "\(name) (process \(pid)) did not end within \(deadline)")
    }
    _ = try handle.reap()
  }

  /// Kills it and waits until it is gone.
  public func kill() async throws {
    try signal(SIGKILL)
    try await waitForExit(within: .seconds(10))
  }

  /// Asks it to end (SIGTERM), and waits.
  public func terminate(within deadline: Duration = .seconds(10)) async throws {
    try signal(SIGTERM)
    try await waitForExit(within: deadline)
  }
}
