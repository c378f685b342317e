/// Commands and files. All of it goes over one ssh connection: an emulated processor takes a second for each.
extension EmulatedHost {
  /// Waits until the host lets us in. Also needed after it has started another kernel.
  public func connect(within deadline: Duration = .seconds(120)) async throws {
    try await session?.kill()
    session = nil
    try await eventually("\(name) to be up", within: deadline, every: .milliseconds(200)) {
      if let session, try await session.isRunning() {
        return try await Command.outcome(of: ssh + ["-O", "check", target]).succeeded ? () : nil
      }
      guard try await process.isRunning() else {
        throw TestBedError(code: .command, message: "\(name)'s QEMU ended; see \(process.log)")
      }
      session = try await LabProcess(
        ["/usr/bin/ssh", "-N", "-M", "-S", control] + SSHSession.options(image) + [target],
        in: network.host, log: directory + "/ssh.log")
      return nil
    }
  }

  /// Runs a shell command inside and returns what it printed.
  ///
  /// - Throws: ``TestBedError/Code/command`` with the output when it fails.
  @discardableResult
  public nonisolated func run(_ command: String, within deadline: Duration = .seconds(60))
    async throws -> String
  {
    try await Command.run(ssh + ["-n", target, command], deadline: deadline)
  }

  /// Copies a file into the host.
  public nonisolated func copyIn(
    _ source: String, to path: String, within deadline: Duration = .seconds(60)
  ) async throws {
    try await Command.run(
      ["sh", "-c", "exec \"$@\" < \"$0\"", source] + ssh + [target, "cat > \(Self.quoted(path))"],
      deadline: deadline)
  }

  /// Copies a file out of the host.
  public nonisolated func copyOut(
    _ path: String, to destination: String, within deadline: Duration = .seconds(60)
  ) async throws {
    try await Command.run(
      ["sh", "-c", "exec \"$@\" > \"$0\"", destination] + ssh
        + ["-n", target, "cat \(Self.quoted(path))"],
      deadline: deadline)
  }

  /// Makes a Unix socket of the host's reachable here; it need not exist yet.
  ///
  /// - Returns: the path here.
  public nonisolated func forward(socket path: String) async throws -> String {
    let local = "\(directory)/socket\(Lab.nextNumber())"
    try await Command.run(ssh + ["-O", "forward", "-L", "\(local):\(path)", target])
    return local
  }

  private nonisolated var control: String { directory + "/ssh" }
  private nonisolated var target: String { "root@" + addresses.ipv4 }

  private nonisolated var ssh: [String] {
    network.host.entering + ["ssh", "-S", control] + SSHSession.options(image)
  }

  private static func quoted(_ path: String) -> String {
    "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#)
      + "'"
  }
}
