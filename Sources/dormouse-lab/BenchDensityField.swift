import API
import TestBed

/// The density test: its machines, and the measurements.
struct DensityField: Sendable {
  let lab: Lab
  let count: Int

  static let machineBytes: UInt64 = 512 << 20
  /// How many machines are awake at the same time while others are made or put to sleep: emulated guests
  /// cost processor time even when idle.
  private static let awakeAtOnce = 3
  /// Before memory is measured: what is paged out later than the guest's RAM has gone then, too.
  private static let settlingTime = Duration.seconds(15)
  /// Over which processor time is measured.
  private static let watchingTime = Duration.seconds(10)
  /// The storm's sends are spread over this.
  private static let stormWidth = Duration.milliseconds(900)

  func measure() async throws -> DensityResult {
    let network = try await lab.makeNetwork()
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    let (original, template) = try await makeTemplate(network, daemon)
    var result = DensityResult(machines: count)
    var plots: [DensityPlot] = []
    Report.line("\(count) machines from the template, each put to sleep (about \(count * 4) s)")
    for target in growthPoints {
      let more = try await grow(
        plots.count + 1...target, like: original, from: template, network, daemon)
      plots += more
      let growth = try await measureSleepers(daemon)
      result.growth.append(growth)
      Report.line(
        "\(target) asleep: \(mebibytes(growth.residentBytes)) resident, "
          + "\(mebibytes(growth.swapBytes)) in swap")
      try await requireSwap(for: count - target, after: growth, daemon)
    }
    Report.line("waking them in random order (about \(count * 3) s)")
    try await wakeOneByOne(plots.shuffled(), daemon, &result)
    Report.line("waking all of them within one second")
    result.storm = try await storm(plots, daemon)
    // All at the same time: each that goes makes room for the others' end.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for plot in plots {
        group.addTask { _ = try await daemon.client.stop(plot.guest.name, force: true) }
      }
      try await group.waitForAll()
    }
    await daemon.tearDown()
    network.remove()
    return result
  }

  private var growthPoints: [Int] { [1, 4, 16, 64].filter { $0 < count } + [count] }

  private func makeTemplate(
    _ network: LabNetwork, _ daemon: LabDaemon
  ) async throws -> (Guest, String) {
    Report.line("booting a guest and saving it as a template (about 15 s)")
    let client = try await network.addClient()
    let guest = try await Guest("original", on: network, in: lab)
    try await daemon.create(guest, memoryMegabytes: Int(Self.machineBytes >> 20))
    _ = try await daemon.client.start(guest.name)
    try await guest.waitUntilUp(from: client, within: .seconds(180))
    let template = lab.directory + "/template"
    _ = try await daemon.client.save(guest.name, to: SaveRequest(directory: template))
    return (guest, template)
  }

  // MARK: - Asleep

  private func grow(
    _ numbers: ClosedRange<Int>, like original: Guest, from template: String,
    _ network: LabNetwork, _ daemon: LabDaemon
  ) async throws -> [DensityPlot] {
    try await inTurns(Array(numbers)) { number in
      let plot = try await DensityPlot(
        "m\(number)", like: original, template: template, on: network, daemon, in: lab)
      _ = try await plot.sleep(daemon)
      return plot
    }
  }

  /// What all costs while all sleep, keepalives included.
  private func measureSleepers(_ daemon: LabDaemon) async throws -> DensityResult.Growth {
    try await Task.sleep(for: Self.settlingTime)
    guard let daemonID = await daemon.pid,
      let sentryID = try await daemon.client.status().sentry.pid
    else { throw TestBedError(code: .malformed, message: "daemon or sentry has no process") }
    let machines = try await daemon.client.list().filter { $0.state != .stopped }
    let before = (try ProcessUse.current(of: daemonID), try ProcessUse.current(of: sentryID))
    let clock = ContinuousClock()
    let start = clock.now
    try await Task.sleep(for: Self.watchingTime)
    let after = (try ProcessUse.current(of: daemonID), try ProcessUse.current(of: sentryID))
    let seconds = (clock.now - start).inSeconds
    let states = try await daemon.client.list().filter { $0.state != .stopped }.map(\.state)
    guard states.allSatisfy({ $0 == .asleep }) else {
      throw TestBedError(
        code: .malformed, message: "a machine is not asleep while sleepers are measured: \(states)")
    }
    var emulators: UInt64 = 0
    var groups: UInt64 = 0
    for pid in machines.compactMap(\.pid) {
      emulators += try ProcessUse.current(of: pid).proportionalBytes
      groups += try HostMemory.current(groupOf: pid).groupBytes
    }
    return DensityResult.Growth(
      machines: machines.count,
      residentBytes: emulators + after.0.proportionalBytes + after.1.proportionalBytes,
      emulatorBytes: emulators, controlGroupBytes: groups,
      swapBytes: machines.reduce(0) { $0 + ($1.sleep?.swapBytes ?? 0) },
      daemonBytes: after.0.proportionalBytes, sentryBytes: after.1.proportionalBytes,
      daemonCPUPercent: (after.0.processorTime - before.0.processorTime).inSeconds / seconds * 100,
      sentryCPUPercent: (after.1.processorTime - before.1.processorTime).inSeconds / seconds * 100)
  }

  /// Rather an error at the beginning than a swap that runs full in the end.
  private func requireSwap(
    for others: Int, after growth: DensityResult.Growth, _ daemon: LabDaemon
  ) async throws {
    let status = try await daemon.client.status()
    let used = status.swapTotalBytes - status.swapFreeBytes
    let needed = used / UInt64(growth.machines) * UInt64(others)
    guard needed <= status.swapFreeBytes else {
      throw TestBedError(
        code: .unprepared,
        message: """
          \(others) more machines need \(needed >> 20) MiB of swap, \(status.swapFreeBytes >> 20) MiB \
          are free; DORMOUSE_LAB_SWAP makes the lab's swap file larger, --machines needs less
          """)
    }
  }

  // MARK: - Waking

  /// One after the other; what has been woken is put to sleep again meanwhile.
  private func wakeOneByOne(
    _ plots: [DensityPlot], _ daemon: LabDaemon, _ result: inout DensityResult
  ) async throws {
    let wakes = try await inTurns(plots) { plot in
      let delay = await plot.use()
      let fetched = await plot.fetches()
      if delay != nil { _ = try await plot.sleep(daemon) }
      return (delay, fetched)
    }
    result.wakeDelays = wakes.compactMap { $0.0?.inSeconds }
    result.connectionsLost += wakes.count { $0.0 == nil } + wakes.count { !$0.1 }
  }

  private func storm(_ plots: [DensityPlot], _ daemon: LabDaemon) async throws
    -> DensityResult.Storm
  {
    try await Task.sleep(for: Self.settlingTime)
    let before = try await daemon.client.list()
    let mark = try await daemon.client.status().eventSequence
    let clock = ContinuousClock()
    let start = clock.now
    let allAwake = Task {
      try await eventually("all machines to be awake", within: DensityPlot.patience) {
        let machines = try await daemon.client.list().filter { $0.state != .stopped }
        return machines.allSatisfy { $0.state == .awake } ? (clock.now - start).inSeconds : nil
      }
    }
    let (replies, pages) = await withTaskGroup(of: (DensityResult.Reply?, Bool).self) { group in
      for plot in plots {
        let offset = Double.random(in: 0..<Self.stormWidth.inSeconds)
        group.addTask {
          try? await clock.sleep(until: start + .seconds(offset))
          let sent = (clock.now - start).inSeconds
          let delay = await plot.use()
          let fetched = await plot.fetches()
          let reply = delay.map {
            DensityResult.Reply(
              machine: plot.guest.name, sentAfterSeconds: sent, firstByteSeconds: $0.inSeconds)
          }
          return (reply, fetched)
        }
      }
      var replies: [DensityResult.Reply] = []
      var pages = 0
      for await (reply, fetched) in group {
        if let reply { replies.append(reply) }
        if fetched { pages += 1 }
      }
      return (replies, pages)
    }
    let awake = try await allAwake.value
    let lost = plots.count - replies.count + plots.count - pages
    return try await DensityResult.Storm(
      replies: replies, allAwakeSeconds: awake, connectionsLost: lost,
      heldFrames: count("heldFrames", since: mark, daemon),
      droppedFrames: count("droppedFrames", since: mark, daemon),
      wakes: daemon.client.list().reduce(0) { $0 + $1.wakes } - before.reduce(0) { $0 + $1.wakes })
  }

  /// The sum of a number that the events of wakes tell.
  private func count(_ key: String, since mark: Int, _ daemon: LabDaemon) async throws -> Int {
    var sum = 0
    for try await event in daemon.client.events(after: mark, follow: false)
    where event.kind == .awake {
      sum += event.details[key].flatMap { Int($0) } ?? 0
    }
    return sum
  }

  /// Does the same for all, for a few at a time.
  private func inTurns<Element: Sendable, Value: Sendable>(
    _ elements: [Element], _ body: @escaping @Sendable (Element) async throws -> Value
  ) async throws -> [Value] {
    try await withThrowingTaskGroup(of: Value.self) { group in
      var values: [Value] = []
      for (number, element) in elements.enumerated() {
        if number >= Self.awakeAtOnce, let value = try await group.next() { values.append(value) }
        group.addTask { try await body(element) }
      }
      for try await value in group { values.append(value) }
      return values
    }
  }
}
