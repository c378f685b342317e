import ArgumentParser
import TestBed

struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show a guest falling asleep and waking up, and what one does today instead.",
    discussion: "Needs the lab: scripts/lab.sh dormouse-lab demo")

  func run() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    let patient = try await network.addClient()
    try await client.setDefaultKeepalive(Keepalive())
    let stage = DemoStage(lab: lab, network: network, client: client, patient: patient)
    say("Dormouse: a Debian guest falls asleep and wakes up. This takes about 2 minutes.")
    let dormouse = try await showingLogs { try await stage.playDormouse() }
    let saved = try await showingLogs { try await stage.playSaved() }
    chapter("Side by side")
    for line in DemoAct.comparison(dormouse, saved) { say(line) }
    guard dormouse.sshLives, dormouse.httpLives,
      dormouse.keepalives.answered == dormouse.keepalives.sent,
      dormouse.pingsAnswered == DemoStage.secondsAsleep
    else { throw TestBedError(code: .connection, message: "the guest was missed in its sleep") }
  }
}

func say(_ line: String = "") { Report.output(line) }

func chapter(_ title: String) {
  say()
  say("== \(title)")
}

func mebibytes(_ bytes: some BinaryInteger) -> String {
  decimal(Double(bytes) / Double(1 << 20), 0) + " MiB"
}
