import API
import ArgumentParser
import Client

struct Set: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Change a virtual machine's settings.",
    discussion: "What is left out stays as it is.")

  @Option(
    help: ArgumentHelp(
      "Put it to sleep after so long without activity, such as 60s or 5m; or never.",
      valueName: "time"),
    transform: IdleTime.init(text:))
  var idleAfter: IdleTime?

  @Option(help: SwapInMode.help)
  var swapIn: SwapInMode?

  @OptionGroup var machine: NameArgument
  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func validate() throws {
    guard idleAfter != nil || swapIn != nil else {
      throw ValidationError("say what to change: --idle-after, --swap-in, or both")
    }
  }

  func run(_ client: DormouseClient) async throws {
    let result = try await client.set(
      machine.name,
      SettingsRequest(
        idle: idleAfter.map { SettingsRequest.Idle(afterSeconds: $0.seconds) }, swapIn: swapIn))
    let when = result.idleAfterSeconds.map {
      "after \(Quantities.format(seconds: $0)) without activity"
    }
    var told: [String] = []
    if idleAfter != nil { told.append("falls asleep \(when ?? "only by order")") }
    if swapIn != nil { told.append("is read back \(result.swapIn.told) after a wake") }
    try Console.print(
      Output.render(
        result, as: output.format,
        sentence: "\(result.name) " + told.joined(separator: " and ")))
  }
}
