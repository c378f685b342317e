import API
import QEMU
import TestBed

/// Where the benchmark runs, and the measurements themselves.
struct BenchPlace: Sendable {
  let lab: Lab
  let network: LabNetwork
  let client: LabClient

  /// Of random content, in a guest of 512 MiB.
  static let touchedMegabytes = 320
  /// All of the touched memory is read again before every so manyth sleep. In between a guest has only
  /// what its last wake has brought back; it would not be honest to count just that.
  static let rereadEvery = 4

  struct Asleep: Sendable {
    var rounds: [Round] = []
    /// Of all connections, while the guest was asleep.
    var asleepKeepalives = KeepaliveCounter.Count()
    /// Of all connections, from before the first sleep to after the last wake. Linux answers one probe
    /// per 500 ms and connection (tcp_invalid_ratelimit, ip-sysctl), in a guest's own time, which stands
    /// still while it sleeps: so right after a wake the guest itself leaves some to their repetition.
    var keepalives = KeepaliveCounter.Count()
    var connections = 0
    var connectionsLost = 0
    /// By which daemon and sentry were larger after a first guest, which was gone, than before it.
    var daemonFirstWork: UInt64 = 0
    var deep: [Deep] = []
    var touching = Touching()
    /// Orders to sleep that failed otherwise than by being refused.
    var failedSleeps = 0
  }

  struct Round: Sendable {
    let delay: Double
    let sleep: SleepReport
    let wake: WakeReport
    /// By which the control group of the guest's QEMU became smaller, and MemAvailable grew.
    let groupFall: Int64
    let availableGrowth: Int64
    /// Whether all of the touched memory was in memory before.
    let isFull: Bool
    /// By which daemon and sentry are larger than they were without a guest, after their first.
    let daemonShare: UInt64
  }

  struct Saved: Sendable {
    var delays: [Double] = []
    var saveSeconds: [Double] = []
    var availableGrowth: [Double] = []
  }

  // MARK: - Dormouse

  func measureSleep(rounds: Int) async throws -> Asleep {
    Report.line("booting a guest under Dormouse and touching memory in it (about 20 s)")
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    let baseline = try await SleepingCost.Baseline(of: daemon) {
      let first = try await Guest("first", on: network, in: lab)
      try await daemon.create(first)
      _ = try await daemon.client.start(first.name)
      try await prepare(first)
      for _ in 1...3 {
        _ = try await daemon.sleepWhenQuiet(first.name)
        _ = try await daemon.client.wake(first.name)
      }
      _ = try await daemon.client.stop(first.name, force: true)
      try await daemon.client.delete(first.name)
    }
    let guest = try await Guest("bench", on: network, in: lab)
    try await daemon.create(guest)
    _ = try await daemon.client.start(guest.name)
    try await prepare(guest)
    let counter = try await KeepaliveCounter(on: client)
    try await client.setDefaultKeepalive(Keepalive())
    let measured = try await EchoConnection(from: client, to: guest.addresses.ipv4)
    let idle = try await EchoConnection(from: client, to: guest.addresses.ipv6)
    let shell = try await SSHSession(
      from: client, to: guest.addresses.ipv4, image: guest.image, log: lab.directory + "/ssh.log")

    Report.line("\(rounds) sleeps and wakes (about \(rounds * 7 / 2) s)")
    var result = Asleep()
    result.daemonFirstWork = baseline.firstWorkBytes
    result.connections = 3
    let clock = ContinuousClock()
    var isFull = true
    for number in 1...rounds {
      let round = try await sleepAndWake(
        guest, on: daemon, baseline, counter: counter, connection: measured, isFull: isFull,
        &result)
      let woken = clock.now
      result.rounds.append(round)
      if number.isMultiple(of: 20) {
        let p50 = Quantiles(result.rounds.map(\.delay)).p50
        Report.line("\(number) of \(rounds): reply after \(milliseconds(p50)) (p50)")
      }
      isFull = number.isMultiple(of: Self.rereadEvery)
      if isFull, number < rounds {
        // Later than the daemon looks which pages the wake has used.
        try await Task.sleep(for: .milliseconds(2_300) - (clock.now - woken))
        _ = try await shell.run("cat /mnt/touched > /dev/null", within: .seconds(60))
      }
    }

    result.deep = try await measureDeepSleep(
      guest, on: daemon, connection: measured, rounds: max(rounds / 10, 5))
    result.touching = try await measureTouching(guest, on: daemon, shell: shell)

    result.keepalives = try await settled(counter)
    var lives = 0
    if (try? await measured.echo(Self.message())) != nil { lives += 1 }
    if (try? await idle.echo(Self.message())) != nil { lives += 1 }
    if let answer = try? await shell.run("echo here"), answer.output == "here" { lives += 1 }
    result.connectionsLost = result.connections - lives
    counter.stop()
    await daemon.tearDown()
    return result
  }

  private func sleepAndWake(
    _ guest: Guest, on daemon: LabDaemon, _ baseline: SleepingCost.Baseline,
    counter: KeepaliveCounter, connection: EchoConnection, isFull: Bool, _ result: inout Asleep
  ) async throws -> Round {
    let awake = try await daemon.client.show(guest.name)
    guard let pid = awake.pid else {
      throw TestBedError(code: .malformed, message: "\(guest.name) has no process")
    }
    var before = try HostMemory.current(groupOf: pid)
    var asleep: VirtualMachine?
    while asleep == nil {
      do {
        // The last reading before the order that is not refused.
        asleep = try await daemon.sleepWhenQuiet(guest.name) { _ in
          before = (try? HostMemory.current(groupOf: pid)) ?? before
        }
      } catch let error as APIError {
        result.failedSleeps += 1
        Report.line("a sleep failed: \(error.message)")
        guard result.failedSleeps < 10 else { throw error }
      }
    }
    let asleepSince = ContinuousClock.now
    let after = try HostMemory.current(groupOf: pid)
    guard let report = asleep?.sleep else {
      throw TestBedError(code: .malformed, message: "the daemon does not say what it released")
    }

    // Every connection sends a probe per second.
    try await eventually("a keepalive to be answered", within: .seconds(5)) {
      counter.count(since: asleepSince).answered > 0 ? () : nil
    }
    // Not always right after a probe.
    try await Task.sleep(for: .milliseconds(Int.random(in: 0..<300)))
    guard try await daemon.client.show(guest.name).state == .asleep else {
      throw TestBedError(code: .malformed, message: "\(guest.name) woke up by itself")
    }
    let daemonShare = try baseline.growth()
    let keepalives = counter.count(since: asleepSince)
    result.asleepKeepalives.sent += keepalives.sent - keepalives.open
    result.asleepKeepalives.answered += keepalives.answered

    let delay = try await connection.echo(Self.message(), within: .seconds(30))
    let wake = try await eventually("the daemon's report of the wake", within: .seconds(10)) {
      let now = try await daemon.client.show(guest.name)
      return now.wakes > awake.wakes ? now.lastWake : nil
    }
    return Round(
      delay: delay.inSeconds, sleep: report, wake: wake,
      groupFall: Int64(before.groupBytes) - Int64(after.groupBytes),
      availableGrowth: Int64(after.availableBytes) - Int64(before.availableBytes), isFull: isFull,
      daemonShare: daemonShare)
  }

  /// The count once no probe waits for its answer.
  private func settled(_ counter: KeepaliveCounter) async throws -> KeepaliveCounter.Count {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(2)
    while clock.now < end, counter.count().open > 0 {
      try await Task.sleep(for: .milliseconds(10))
    }
    return counter.count()
  }

  // MARK: - Baselines

  func measureBaselines(pausedRounds: Int, savedRounds: Int) async throws -> ([Double], Saved) {
    Report.line("booting the same guest without Dormouse (about 20 s)")
    let guest = try await Guest("bare", on: network, in: lab)
    var machine = try await BareMachine(guest, on: network, in: lab)
    try await prepare(guest)
    // Without keepalives: nobody answers them.
    let connection = try await EchoConnection(
      from: client, to: guest.addresses.ipv4, keepalive: nil)

    Report.line("\(pausedRounds) pauses, nothing released (about \(pausedRounds * 3 / 2) s)")
    var paused: [Double] = []
    let monitor = try await machine.connectMonitor()
    for _ in 1...pausedRounds {
      try await Task.sleep(for: .milliseconds(1_000))
      try await monitor.stop()
      try await Task.sleep(for: .milliseconds(Int.random(in: 200..<500)))
      async let delay = connection.echo(Self.message())
      try await monitor.cont()
      paused.append(try await delay.inSeconds)
    }
    monitor.close()

    Report.line("\(savedRounds) saves to a file and restores (about \(savedRounds * 6) s)")
    var saved = Saved()
    let clock = ContinuousClock()
    for _ in 1...savedRounds {
      try await Task.sleep(for: .milliseconds(1_000))
      let before = try HostMemory.availableBytes()
      let start = clock.now
      let file = try await machine.save()
      saved.saveSeconds.append((clock.now - start).inSeconds)
      try await Task.sleep(for: .milliseconds(500))
      saved.availableGrowth.append(Double(try HostMemory.availableBytes()) - Double(before))
      async let delay = connection.echo(Self.message(), within: .seconds(90))
      machine = try await file.restore()
      saved.delays.append(try await delay.inSeconds)
    }
    try await machine.stop()
    return (paused, saved)
  }

  private func prepare(_ guest: Guest) async throws {
    try await guest.waitUntilUp(from: client)
    try await guest.touchMemory(megabytes: Self.touchedMegabytes, from: client)
  }

  static func message() -> [UInt8] { (0..<64).map { _ in .random(in: 0...255) } }
}
