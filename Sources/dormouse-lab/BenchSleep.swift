import ArgumentParser
import TestBed

struct BenchSleep: AsyncParsableCommand {
  enum Format: String, ExpressibleByArgument {
    case text, json
  }

  static let configuration = CommandConfiguration(
    commandName: "bench-sleep",
    abstract: "Measure what a client sees of a sleeping guest, and what the host gets.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab bench-sleep

      A client sends on an idle TCP connection and waits for the reply: of a guest that Dormouse has put \
      to sleep, of one that is only paused, and of one that was saved to a file. Ends with a status other \
      than 0 when a keepalive was not answered, a connection was lost, less than 97 % of the touched \
      memory was released, or waking is less than 20 times as fast as restoring.
      """)

  @Option(help: "Sleeps and wakes.")
  var rounds = 100

  @Option(help: "Pauses, for the floor.")
  var pausedRounds = 40

  @Option(help: "Saves to a file and restores from it.")
  var savedRounds = 6

  @Option(help: "text, or json for one object as the last line.")
  var format = Format.text

  func validate() throws {
    guard min(rounds, pausedRounds, savedRounds) > 0 else {
      throw ValidationError("each needs at least one round")
    }
  }

  func run() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    let place = BenchPlace(lab: lab, network: network, client: client)
    let asleep = try await showingLogs { try await place.measureSleep(rounds: rounds) }
    let (paused, saved) = try await showingLogs {
      try await place.measureBaselines(pausedRounds: pausedRounds, savedRounds: savedRounds)
    }
    let result = BenchSleepResult(asleep: asleep, paused: paused, saved: saved)
    switch format {
    case .text: print(result.text)
    case .json: print(try json(result.figures))
    }
    for failure in result.failures { Report.line("FAILED: \(failure)") }
    if !result.failures.isEmpty { throw ExitCode(1) }
  }
}
