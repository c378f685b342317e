import ArgumentParser
import Client

struct Status: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the daemon and its host at a glance.")

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    try Console.print(Output.render(await client.status(), as: output.format))
  }
}
