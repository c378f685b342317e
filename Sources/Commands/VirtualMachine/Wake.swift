import API
import ArgumentParser
import Client

struct Wake: DaemonCommand {
  static let configuration = CommandConfiguration(abstract: "Wake a sleeping virtual machine.")

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let name = machine.name
    let result = try await Progress.run("waking \(name)") { try await client.wake(name) }
    let seconds = result.lastWake.map { " after \(Quantities.format(seconds: $0.totalSeconds))" }
    try Console.print(
      Output.render(
        result, as: output.format, sentence: "\(name) is \(result.state.told)\(seconds ?? "")"))
  }
}
