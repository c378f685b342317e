import API
import Glibc
import TestBed

/// Where the soak runs: some guests that are used at random, and somebody who kills the daemon and the
/// sentry.
struct SoakField: Sendable {
  let lab: Lab
  let network: LabNetwork
  let client: LabClient
  let seed: UInt64

  private static let guestMegabytes = 256
  private static let touchedMegabytes = 64
  /// Whatever is killed: within this time an answer is there.
  private static let patience = Duration.seconds(20)

  func run(guests count: Int, for duration: Duration) async throws -> SoakJournal {
    let journal = SoakJournal()
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    var guests: [Guest] = []
    for number in 1...count {
      Report.line("booting guest \(number) of \(count)")
      let guest = try await Guest("soak\(number)", on: network, in: lab)
      try await daemon.create(
        guest, memoryMegabytes: Self.guestMegabytes, idleAfterSeconds: Double(3 + number))
      _ = try await daemon.client.start(guest.name)
      try await guest.waitUntilUp(from: client)
      try await guest.touchMemory(megabytes: Self.touchedMegabytes, from: client)
      guests.append(guest)
    }
    let watch = try await OwnerWatch(on: client)
    let clock = ContinuousClock()
    let end = clock.now + duration
    Report.line("using and disturbing them")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (number, guest) in guests.enumerated() {
        group.addTask {
          var user = try await SoakUser(
            guest, client: client, daemon: daemon, journal: journal,
            random: SeededGenerator(seed: seed &+ UInt64(number)), patience: Self.patience)
          while clock.now < end { try await user.act() }
          await user.finish()
        }
      }
      group.addTask { try await disturb(daemon, journal, until: end) }
      try await group.waitForAll()
    }
    for violation in watch.violations { await journal.violate(violation) }
    watch.stop()
    try await conclude(daemon, journal)
    return journal
  }

  /// Kills the daemon, the sentry or both, again and again; never for so long that all must be awake.
  private func disturb(
    _ daemon: LabDaemon, _ journal: SoakJournal, until end: ContinuousClock.Instant
  ) async throws {
    var random = SeededGenerator(seed: seed &- 1)
    while true {
      let pause = Duration.milliseconds(Int.random(in: 4_000...15_000, using: &random))
      guard .now + pause + .seconds(6) < end else { return }
      try await Task.sleep(for: pause)
      let sentry = try? await daemon.client.status().sentry.pid
      let choice = Int.random(in: 0..<5, using: &random)
      if choice >= 2, let sentry {
        kill(sentry, SIGKILL)
        await journal.count("sentry killed")
      }
      if choice <= 2 {
        try await daemon.kill()
        await journal.count("daemon killed")
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...1_500, using: &random)))
        try await daemon.start()
      }
    }
  }

  /// What the daemon knows in the end.
  private func conclude(_ daemon: LabDaemon, _ journal: SoakJournal) async throws {
    for machine in try await daemon.client.list() {
      if machine.state != .awake && machine.state != .asleep {
        await journal.violate("\(machine.name) is \(machine.state.rawValue) in the end")
      }
      for _ in 0..<machine.sleeps { await journal.count("fallen asleep") }
      if machine.sleeps == 0 { await journal.violate("\(machine.name) has never slept") }
    }
    await daemon.tearDown()
  }
}
