import ArgumentParser
import Client

struct Start: DaemonCommand {
  static let configuration = CommandConfiguration(abstract: "Boot a stopped virtual machine.")

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let name = machine.name
    let result = try await Progress.run("starting \(name)") { try await client.start(name) }
    let process = result.pid.map { " (process \($0))" } ?? ""
    try Console.print(
      Output.render(
        result, as: output.format, sentence: "\(name) is \(result.state.told)\(process)"))
  }
}
