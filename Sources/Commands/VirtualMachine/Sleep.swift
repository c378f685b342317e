import API
import ArgumentParser
import Client

struct Sleep: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Put a virtual machine to sleep now.",
    discussion: """
      Refused, with exit status 2 and the reason, when that would not be safe: the machine is in \
      use, swap lacks room. It runs on then.
      """)

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let name = machine.name
    let result = try await Progress.run("putting \(name) to sleep") { try await client.sleep(name) }
    try Console.print(Output.render(result, as: output.format, sentence: sentence(result)))
  }

  private func sentence(_ result: VirtualMachine) -> String {
    guard let sleep = result.sleep else { return "\(result.name) is \(result.state.told)" }
    let released = Quantities.format(bytes: sleep.releasedBytes)
    let seconds = Quantities.format(seconds: sleep.durationSeconds)
    return "\(result.name) is \(result.state.told): \(released) released in \(seconds)"
  }
}
