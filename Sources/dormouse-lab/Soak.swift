import ArgumentParser
import TestBed

struct Soak: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Let several guests sleep and wake at random, and kill Dormouse while they do.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab soak

      Ends with a status other than 0 when a connection was lost, something was answered wrongly, twice or \
      too late, or a guest did not come back.
      """)

  @Option(help: "How long, in minutes.")
  var minutes = 60.0

  @Option(help: "How many guests.")
  var guests = 3

  @Option(help: "What the random choices begin with; 0 for something new each time.")
  var seed: UInt64 = 0

  func validate() throws {
    guard minutes > 0, (1...20).contains(guests) else {
      throw ValidationError("some time is needed, and 1 to 20 guests")
    }
  }

  func run() async throws {
    let seed = seed == 0 ? UInt64.random(in: 1...(.max)) : seed
    Report.line("\(guests) guests for \(decimal(minutes, 1)) minutes; --seed \(seed)")
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    let field = SoakField(lab: lab, network: network, client: client, seed: seed)
    let journal = try await showingLogs {
      try await field.run(guests: guests, for: .seconds(minutes * 60))
    }
    for line in await journal.summary { print(line) }
    let violations = await journal.violations
    for violation in violations { Report.line("FAILED: \(violation)") }
    if !violations.isEmpty {
      TestFailureLog.show()
      throw ExitCode(1)
    }
  }
}
