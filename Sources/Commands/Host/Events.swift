import ArgumentParser
import Client

struct Events: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print what happened.",
    discussion: "Oldest first, one event per line; as JSON, one object per line.")

  @Argument(help: "Only what concerns this virtual machine.")
  var name: String?

  @Flag(name: .shortAndLong, help: "Go on with what happens from now on, until interrupted.")
  var follow = false

  @Option(help: ArgumentHelp("Only events with a number above this one.", valueName: "number"))
  var after: Int?

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    for try await event in client.events(after: after, follow: follow)
    where name == nil || event.virtualMachine == name {
      try Console.print(event.line(as: output.format))
    }
  }
}
