import ArgumentParser
import Client

struct List: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the virtual machines.", aliases: ["ls"])

  @Flag(name: .shortAndLong, help: "Print the names only.")
  var quiet = false

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let text = try Output.render(await client.list(), as: output.format, quiet: quiet)
    // No names are no lines, not an empty one.
    if !text.isEmpty { try Console.print(text) }
  }
}
