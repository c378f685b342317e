import API
import ArgumentParser
import Client
import FoundationEssentials

/// Where the daemon is.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The daemon's socket (default: DORMOUSE_SOCKET, or \(DormousePaths.socket)).
      """, valueName: "path"),
    completion: .file(extensions: ["sock"]))
  var socket: String?

  var client: DormouseClient {
    let environment = ProcessInfo.processInfo.environment["DORMOUSE_SOCKET"]
    return DormouseClient(
      socketPath: socket ?? environment.flatMap { $0.isEmpty ? nil : $0 } ?? DormousePaths.socket)
  }
}

/// How to print.
struct FormatOptions: ParsableArguments {
  @Option(help: "How to print: table or json.")
  var format: OutputFormat = .table
}

extension OutputFormat: ExpressibleByArgument {}

/// The virtual machine that a command is about.
struct NameArgument: ParsableArguments {
  @Argument(help: "The virtual machine's name.")
  var name: String
}

/// A command that asks the daemon. It says what went wrong in the same way as all others.
protocol DaemonCommand: AsyncParsableCommand {
  var connection: ConnectionOptions { get }

  func run(_ client: DormouseClient) async throws
}

extension DaemonCommand {
  mutating func run() async throws {
    do {
      try await run(connection.client)
    } catch let error as APIError {
      Console.complain(error)
      throw ExitCode(error.exitStatus)
    }
  }
}

extension APIError {
  /// The exit status that goes with the code; the numbers from 64 are those of sysexits.h.
  var exitStatus: Int32 {
    switch code {
    case .refused: 2
    case .invalid: 64
    case .unavailable: 69
    case .forbidden: 77
    default: 1
    }
  }
}
