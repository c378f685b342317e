import ArgumentParser
import Client

struct Stop: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shut a virtual machine down.",
    discussion: "The guest is asked to, and is waited for; one that sleeps is woken first.")

  @Flag(help: "End it at once, like pulling the plug. What it had not written to disk is lost.")
  var force = false

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let (name, force) = (machine.name, force)
    let result = try await Progress.run("stopping \(name)") {
      try await client.stop(name, force: force)
    }
    try Console.print(
      Output.render(result, as: output.format, sentence: "\(name) is \(result.state.told)"))
  }
}
