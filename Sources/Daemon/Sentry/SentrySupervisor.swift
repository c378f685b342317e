import FoundationEssentials
import Glibc
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Logging
import Seamless

/// Keeps one sentry running: starts it, or finds the one that an earlier daemon started; says that the
/// daemon lives; starts another one when it dies.
actor SentrySupervisor {
  /// What the supervisor tells the host, in the order in which it happened.
  enum Report: Sendable {
    /// A sentry is there, with these machines in its care: none when it has just been started.
    case up([GuardStatus], restarted: Bool)
    /// The sentry is gone.
    case down(String)
    case notice(SentryNotice)
  }

  /// Notices that may wait.
  private static let noticeLimit = 65_536
  /// Heartbeats from one look at the sentry's log to the next.
  private static let logInterval = 60

  /// How long a sentry gets to answer what costs it nothing.
  private static let patience = Duration.seconds(3)

  private let configuration: DaemonConfiguration
  private let directory: StateDirectory
  private let credentials: Credentials
  private let logger: Logger
  private var connection: SentryConnection?
  private let questions = TrafficQuestions()
  private var starts = 0
  /// The sentry's process; the last one's when there is none.
  private(set) var processID: Int32?

  init(
    configuration: DaemonConfiguration, directory: StateDirectory, user: UInt32, logger: Logger
  ) {
    self.configuration = configuration
    self.directory = directory
    self.logger = logger
    // No capability over packets in general: the sentry gets the sockets that it needs from the daemon.
    // What is left is the right to take the detour's filter down by itself.
    credentials = Credentials(
      uid: user, gid: user, supplementaryGroups: [], ambientCapabilities: [.netAdmin])
  }

  /// - Throws: ``SentryError``.
  func request(
    _ body: SentryRequest.Body, descriptors: [CInt] = [], deadline: Duration = .seconds(10)
  ) async throws -> SentryReply.Body {
    guard let connection else {
      throw SentryError(.lost, "there is no sentry at this moment")
    }
    return try await connection.request(body, descriptors: descriptors, deadline: deadline)
  }

  /// What a VM's traffic looks like.
  ///
  /// - Throws: ``SentryError``.
  func traffic(of name: String) async throws -> TrafficReport {
    try await questions.report(of: name) { names in
      guard case .traffic(let reports) = try await self.request(.traffic(names: names)) else {
        throw SentryError(.refused, "the sentry does not tell what the traffic is like")
      }
      return reports
    }
  }

  /// Runs until cancelled, and leaves the sentry alone then: it guards on.
  func run(_ report: @Sendable (Report) async -> Void) async {
    var delay = Duration.milliseconds(50)
    while !Task.isCancelled {
      do {
        let began = ContinuousClock.now
        try await serve(report)
        if ContinuousClock.now - began > .seconds(30) { delay = .milliseconds(50) }
      } catch is CancellationError {
        return
      } catch {
        logger.error("the sentry cannot be used", metadata: ["error": "\(error)"])
        await report(.down("\(error)"))
      }
      try? await Task.sleep(for: delay)
      delay = min(delay * 2, .seconds(5))
    }
  }

  /// One sentry's life, from the connection to its end.
  private func serve(_ report: @Sendable (Report) async -> Void) async throws {
    let (connection, restarted) = try await connectOrStart()
    let (notices, sink) = AsyncStream<SentryNotice>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.noticeLimit))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        await connection.readNotices { notice in
          guard case .dropped = sink.yield(notice) else { return }
          // One that is lost would leave a false picture. After the next greeting it is whole again.
          throw SentryError(.lost, "the sentry's notices come faster than they can be dealt with")
        }
        sink.finish()
      }
      let answer = try await greet(connection)
      guard case .welcome(let pid, let machines) = answer else {
        throw SentryError(.refused, "the sentry does not speak this daemon's protocol")
      }
      self.connection = connection
      processID = pid
      group.addTask {
        var silences = 0
        var beats = 0
        while !Task.isCancelled {
          try await Task.sleep(for: .seconds(SentryProtocol.heartbeatSeconds))
          beats += 1
          if beats.isMultiple(of: Self.logInterval) { await self.boundLog() }
          do {
            _ = try await connection.request(.heartbeat, deadline: Self.patience)
            silences = 0
          } catch let error as SentryError where error.code == .silent {
            // Once may be this process's own fault, if it was stopped for a while.
            silences += 1
            if silences == 2 { await self.endUnusableSentry() }
          } catch {
            continue
          }
        }
      }
      await report(.up(machines, restarted: restarted))
      for await notice in notices { await report(.notice(notice)) }
      group.cancelAll()
    }
    self.connection = nil
    if !Task.isCancelled { await report(.down("the sentry has ended")) }
  }

  private func boundLog() async {
    let log = SentryLog(path: directory.sentryLog)
    do {
      try await onBlockingThread("log") { try log.bound() }
    } catch {
      logger.warning("the sentry's log cannot be bounded", metadata: ["error": "\(error)"])
    }
  }

  private func greet(_ connection: SentryConnection) async throws -> SentryReply.Body {
    let injector = try PacketSocket.open(onInterface: 0, mode: .injecting)
    do {
      return try await connection.request(
        .hello(version: SentryProtocol.version), descriptors: [injector.descriptor],
        deadline: Self.patience)
    } catch let error as SentryError where error.code == .silent {
      // One that refuses is another release's: it wakes its machines and ends by itself.
      endUnusableSentry()
      throw error
    }
  }

  /// A sentry that hangs guards nobody, and keeps monitors and addresses from its successor. Its successor,
  /// or the daemon, wakes or takes over what it guarded.
  private func endUnusableSentry() {
    do {
      let identity = try JSONDecoder().decode(
        ProcessIdentity.self,
        from: Data(try KernelFile.bytes(directory.sentryProcess, limit: 4096)))
      logger.error("the sentry cannot be used; ending it", metadata: ["pid": "\(identity.pid)"])
      try ProcessHandle(opening: identity).signal(SIGKILL)
    } catch {
      logger.error("the sentry cannot be ended", metadata: ["error": "\(error)"])
    }
    // Whatever it is, the next one listens elsewhere.
    unlink(directory.sentrySocket)
  }

  private func connectOrStart() async throws -> (SentryConnection, restarted: Bool) {
    do {
      let socket = try SequencedPacketSocket.connect(to: directory.sentrySocket)
      return (SentryConnection(socket), false)
    } catch {
      logger.debug("no sentry is there yet", metadata: ["reason": "\(error)"])
    }
    unlink(directory.sentrySocket)
    let listener = try SequencedPacketSocket.listen(at: directory.sentrySocket, mode: 0o600)
    await boundLog()
    let log = OwnedFileDescriptor(
      owning: try checked(
        open(directory.sentryLog, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)))
    var environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
    if let points = getenv("DORMOUSE_SENTRY_FAILPOINTS"), starts == 0 {
      // A failpoint is for the first sentry; its successor must be able to clear up.
      environment["DORMOUSE_FAILPOINTS"] = String(cString: points)
    }
    for name in ["LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"] {
      if let value = getenv(name) { environment[name] = String(cString: value) }
    }
    do {
      // By descriptor: the sentry's user may not be allowed into the directory that the program lies in.
      let program = OwnedFileDescriptor(
        owning: try checked(
          "open \(configuration.sentryBinary)",
          open(configuration.sentryBinary, O_RDONLY | O_CLOEXEC)))
      let identity = try launchDetached(
        LaunchConfiguration(
          executable: "/proc/self/fd/4", name: "dormouse-sentry",
          arguments: ["--listen-descriptor", "3"], environment: environment,
          descriptors: [
            1: log.rawValue, 2: log.rawValue, 3: listener.rawValue, 4: program.rawValue,
          ],
          credentials: credentials))
      starts += 1
      try? JSONEncoder().encode(identity).write(to: URL(filePath: directory.sentryProcess))
      logger.info("started a sentry", metadata: ["pid": "\(identity.pid)"])
      Task { await Self.reap(identity) }
    } catch {
      throw SentryError(.startFailed, "the sentry cannot be started: \(error)")
    }
    return (
      SentryConnection(try SequencedPacketSocket.connect(to: directory.sentrySocket)), true
    )
  }

  /// Waits for the sentry's end, so that it does not stay behind as a zombie.
  private static func reap(_ identity: ProcessIdentity) async {
    guard let handle = try? ProcessHandle(opening: identity) else { return }
    _ = try? await handle.waitForExit(timeout: nil)
    _ = try? handle.reap()
  }
}
