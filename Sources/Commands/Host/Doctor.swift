import ArgumentParser
import Client

struct Doctor: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Look at the host and say what is missing.",
    discussion: "Exit status 1 when something is missing without which nothing can sleep.")

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let report = try await client.doctor()
    try Console.print(Output.render(report, as: output.format))
    if !report.ok { throw ExitCode.failure }
  }
}
