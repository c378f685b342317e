import ArgumentParser
import TestBed

struct SoakSnooping: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "soak-snooping",
    abstract:
      "Let a guest sleep behind a bridge that snoops on multicast, with the intervals of real ones.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab soak-snooping

      Ends with a status other than 0 when the bridge forgets a group of the guest's, when a client does not \
      find it, or when it does not sleep to the end.
      """)

  @Option(help: "How long, in minutes; a bridge forgets who is silent after 4.3.")
  var minutes = 10.0

  func validate() throws {
    guard minutes > 0 else { throw ValidationError("some time is needed") }
  }

  func run() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    let violations = try await showingLogs { try await watch(lab, network, client) }
    for violation in violations { Report.line("FAILED: \(violation)") }
    guard violations.isEmpty else {
      TestFailureLog.show()
      throw ExitCode(1)
    }
    print("member of its groups and found for \(decimal(minutes, 1)) minutes")
  }

  private func watch(
    _ lab: Lab, _ network: LabNetwork, _ client: LabClient
  ) async throws -> [String] {
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    let guest = try await Guest("snooped", on: network, in: lab)
    try await daemon.create(guest, memoryMegabytes: 256)
    guard let tap = try await daemon.client.start(guest.name).networks.first?.tap else {
      throw TestBedError(code: .malformed, message: "the guest has no tap")
    }
    try await guest.waitUntilUp(from: client)
    let bridge = try await SnoopingBridge(on: network, port: tap)
    let group = SnoopingBridge.solicitedNode(of: guest.addresses.ipv6)
    try await eventually("the bridge to know \(group)", within: .seconds(60)) {
      try await bridge.groups().contains(group) ? () : nil
    }
    let asleep = try await daemon.sleepWhenQuiet(guest.name, within: .seconds(60))
    Report.line("asleep, for \(decimal(minutes, 1)) minutes")
    var violations = try await bridge.violations(
      of: [group], guest, from: client, for: .seconds(minutes * 60), every: .seconds(5))
    let machine = try await daemon.client.show(guest.name)
    if machine.state != .asleep || machine.wakes != asleep.wakes {
      violations.append("it did not sleep to the end")
    }
    await daemon.tearDown()
    return violations
  }
}
