import API
import ArgumentParser
import Daemon
import Failpoints
import FoundationEssentials
import Glibc
import Logging
import ServiceLifecycle
import Web

@main
struct Dormoused: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dormoused",
    abstract: "Puts idle virtual machines of this host to sleep, and wakes them.",
    discussion: """
      Runs in the foreground, in whatever network namespace it is started in. Several daemons may run \
      side by side, each with a state directory and a socket of its own. Stopping or killing the daemon \
      touches no virtual machine: what sleeps is guarded by the sentry for ten seconds, and woken then \
      unless a daemon is back.
      """,
    version: DormouseVersion.current)

  @Option(name: .customLong("state-dir"), help: "Where records, sockets and kernels are kept.")
  var stateDirectory = "/var/lib/dormouse"

  @Option(help: "The Unix socket of the HTTP API.")
  var socket = DormousePaths.socket

  @Option(
    help: "A group (name or number) whose members may use the API, beside root.")
  var group: String?

  @Option(help: "QEMU's binary, 10.0 or newer.")
  var qemu = "qemu-system-x86_64"

  @Option(help: "The sentry's binary; by default the one beside this program.")
  var sentry: String?

  @Option(
    name: .customLong("control-group"),
    help: "The memory control group below which each virtual machine gets its own.")
  var controlGroup: String?

  @Option(
    name: .customLong("idle-cpu-percent"),
    help: "What each processor of a virtual machine may be used, in percent, for it to be idle.")
  var idlePercent = 10.0

  @Option(help: "A file with the host's rules, one per line; read again on SIGHUP.")
  var rules: String?

  @Option(
    name: .customLong("closed-ports"),
    help: "When a sleeping machine's port counts as closed: exact, trust-agent or never.")
  var closedPorts = DaemonConfiguration.ClosedPorts.exact

  @Option(
    name: .customLong("deep-after"),
    help: "Seconds of sleep after which QEMU's own memory is paged out as well.")
  var deepAfterSeconds = 10.0

  @Option(
    name: .customLong("swap-in-rate"),
    help: "MiB per second that all machines together read back in the background.")
  var swapInRate: UInt64 = 32

  @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning or error.")
  var logLevel: String = "info"

  func validate() throws {
    guard Logger.Level(rawValue: logLevel) != nil else {
      throw ValidationError("--log-level \(logLevel): there is no such level")
    }
    guard stateDirectory.hasPrefix("/"), socket.hasPrefix("/") else {
      throw ValidationError("--state-dir and --socket must be absolute paths")
    }
    guard rules?.hasPrefix("/") ?? true else {
      throw ValidationError("--rules must be an absolute path")
    }
    guard idlePercent > 0, idlePercent <= 100 else {
      throw ValidationError("--idle-cpu-percent must be above 0 and at most 100")
    }
    guard deepAfterSeconds >= 0, deepAfterSeconds <= 31_536_000 else {
      throw ValidationError("--deep-after must be a number of seconds, at most a year")
    }
    guard (1...1_048_576).contains(swapInRate) else {
      throw ValidationError("--swap-in-rate must be from 1 to 1048576 MiB per second")
    }
  }

  func run() async throws {
    let level = Logger.Level(rawValue: logLevel) ?? .info
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    let logger = Logger(label: "dormoused")
    signal(SIGPIPE, SIG_IGN)
    let configuration = DaemonConfiguration(
      stateDirectory: stateDirectory, qemuBinary: Self.locate(qemu),
      sentryBinary: try sentry ?? Self.siblingSentry(),
      controlGroup: controlGroup ?? Self.environment("DORMOUSE_CONTROL_GROUP") ?? "dormouse",
      idleProcessorShare: idlePercent / 100, rulesFile: rules, closedPorts: closedPorts,
      deepAfter: .seconds(deepAfterSeconds), swapInBytesPerSecond: swapInRate << 20,
      failpoints: .fromEnvironment())
    let group = try group.map(Self.groupNumber)
    do {
      let host = try await Host(configuration: configuration, logger: logger)
      let web = WebServer(service: host, socketPath: socket, group: group, logger: logger)
      // Told to shut down in reverse order.
      try await ServiceGroup(
        services: [host, web, RulesReload(host: host), ShutdownLimit(logger: logger)],
        gracefulShutdownSignals: [.sigterm, .sigint], logger: logger
      ).run()
    } catch {
      logger.critical("\(error)")
      throw ExitCode.failure
    }
  }

  private static func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  /// A name's path by PATH, as a shell would find it; the name itself when it is nowhere, for the doctor
  /// to complain about.
  private static func locate(_ name: String) -> String {
    guard !name.contains("/") else { return name }
    return (environment("PATH") ?? "/usr/bin").split(separator: ":")
      .map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 } ?? name
  }

  /// `dormouse-sentry` in this program's own directory.
  private static func siblingSentry() throws -> String {
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    guard let slash = own.lastIndex(of: "/") else {
      throw ValidationError("cannot tell where this program lies; name --sentry")
    }
    return own[...slash] + "dormouse-sentry"
  }

  private static func groupNumber(_ text: String) throws -> gid_t {
    if let number = gid_t(text) { return number }
    guard let entry = getgrnam(text) else {
      throw ValidationError("--group \(text): there is no such group")
    }
    return entry.pointee.gr_gid
  }
}
