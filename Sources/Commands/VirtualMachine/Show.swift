import ArgumentParser
import Client

struct Show: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show all about a virtual machine.",
    discussion: "Its state, its network, what its sleep gave back, how its last wake went.")

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    try Console.print(Output.render(await client.show(machine.name), as: output.format))
  }
}
