import Glibc
import LinuxSystem
import Synchronization

/// An interactive ssh session from a client into a guest, with a terminal at the guest's end, driven as
/// somebody who types would.
///
/// ssh's own keepalives are off; TCP's are on and follow ``LabClient/setDefaultKeepalive(_:)``.
public final class SSHSession: Sendable {
  private let process: LabProcess
  private let stream: Stream
  private let lastMark = Mutex(0)

  /// Logs in as root and waits for the shell.
  public init(
    from client: LabClient, to address: String, image: GuestImage, log: String,
    within deadline: Duration = .seconds(30)
  ) async throws {
    let toShell = try Pipe()
    let fromShell = try Pipe()
    process = try await LabProcess(
      ["/usr/bin/ssh", "-tt"] + Self.options(image) + ["root@" + address],
      in: client.namespace, log: log, environment: ["TERM": "dumb"],
      descriptors: [0: toShell.read.rawValue, 1: fromShell.write.rawValue])
    // The other ends close here: only ssh holds them then, so that its end shows.
    stream = Stream(
      input: fromShell.takeRead(), output: toShell.takeWrite(), peer: "ssh to \(address)")
    // Without echo and prompt, what comes back is what was asked for.
    _ = try await exchange("stty -echo; PS1=; PS2=", within: deadline)
  }

  /// Types a command and waits for all that it prints.
  ///
  /// - Returns: what it printed, and the time from just before typing to the last of it.
  public func run(_ command: String, within deadline: Duration = .seconds(10)) async throws
    -> (output: String, delay: Duration)
  {
    try await exchange(command, within: deadline)
  }

  /// Whether the session stands: ssh runs and has not said that it ended.
  public func isOpen() async throws -> Bool {
    guard try await process.isRunning() else { return false }
    return try await stream.isOpen()
  }

  /// Ends the session.
  public func close() async throws {
    try await process.kill()
  }

  /// Runs one command in a guest without a terminal, in a session of its own.
  ///
  /// - Throws: ``TestBedError/Code/command`` when the command or the login fails.
  public static func run(
    _ command: String, on address: String, from client: LabClient, image: GuestImage,
    within deadline: Duration = .seconds(30)
  ) async throws -> String {
    try await Command.run(
      client.namespace.entering + ["ssh", "-n"] + options(image) + ["root@" + address, command],
      deadline: deadline)
  }

  /// How ssh logs in to a system that was made from an image.
  static func options(_ image: GuestImage) -> [String] {
    let options = [
      "BatchMode=yes", "CheckHostIP=no", "ConnectTimeout=20", "GlobalKnownHostsFile=/dev/null",
      "IdentitiesOnly=yes", "LogLevel=ERROR", "ServerAliveInterval=0", "StrictHostKeyChecking=yes",
      "TCPKeepAlive=yes", "UserKnownHostsFile=\(image.knownHosts)",
      // The default exchange takes an emulated processor a second longer.
      "KexAlgorithms=curve25519-sha256",
    ]
    return ["-F", "/dev/null", "-e", "none", "-i", image.privateKey]
      + options.flatMap { ["-o", $0] }
  }

  private func exchange(
    _ command: String, within deadline: Duration
  ) async throws -> (output: String, delay: Duration) {
    let number = lastMark.withLock { number in
      number += 1
      return number
    }
    // Typed in two parts, so that the terminal's echo of the command is not taken for its output.
    let mark = Array("<done-\(number)>\r\n".utf8)
    let line = "\(command); echo '<done-''\(number)>'\n"
    let (answer, delay) = try await stream.exchange(Array(line.utf8), within: deadline) { bytes in
      bytes.indices.first { bytes[$0...].starts(with: mark) }.map { $0 + mark.count }
    }
    let output = String(decoding: answer.dropLast(mark.count), as: UTF8.self)
      .split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: "\n")
    return (output.trimmedLine, delay)
  }
}
