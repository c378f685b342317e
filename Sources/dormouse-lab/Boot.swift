import ArgumentParser
import TestBed

struct Boot: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Boot the guest without Dormouse, and print how long it takes.",
    discussion: "Needs the lab: scripts/lab.sh dormouse-lab boot")

  @Option(help: "How many times.")
  var times = 1

  @Option(help: "A command to run in the guest over ssh once it is up.")
  var command: String?

  func run() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    for round in 1...max(times, 1) {
      let guest = try await Guest("boot\(round)", on: network, in: lab)
      let clock = ContinuousClock()
      let start = clock.now
      let machine = try await BareMachine(guest, on: network, in: lab)
      try await guest.waitUntilUp(from: client)
      let seconds = (clock.now - start).inSeconds
      print("up after \((seconds * 10).rounded() / 10) s")
      if let command {
        print(try await guest.run(command, from: client), terminator: "")
      }
      try await machine.stop()
    }
  }
}
