import ArgumentParser
import Client

struct Set: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Change a virtual machine's settings.")

  @Option(
    help: ArgumentHelp(
      "Put it to sleep after so long without activity, such as 60s or 5m; or never.",
      valueName: "time"),
    transform: IdleTime.init(text:))
  var idleAfter: IdleTime

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let result = try await client.setIdle(machine.name, idleAfterSeconds: idleAfter.seconds)
    let when = result.idleAfterSeconds.map {
      "after \(Quantities.format(seconds: $0)) without activity"
    }
    try Console.print(
      Output.render(
        result, as: output.format,
        sentence: "\(result.name) falls asleep \(when ?? "only by order")"))
  }
}
