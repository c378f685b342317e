import TestBed

/// What the density test found, and whether that is good enough.
struct DensityResult: Sendable {
  /// What so many sleeping machines cost.
  struct Growth: Sendable, Encodable {
    let machines: Int
    /// PSS of all QEMUs, daemon and sentry.
    let residentBytes: UInt64
    /// PSS of all QEMUs.
    let emulatorBytes: UInt64
    /// What is charged to the QEMUs' control groups: page tables and other kernel memory included.
    let controlGroupBytes: UInt64
    /// By the daemon's account.
    let swapBytes: UInt64
    let daemonBytes: UInt64
    let sentryBytes: UInt64
    let daemonCPUPercent: Double
    let sentryCPUPercent: Double
  }

  /// One machine's part of the storm.
  struct Reply: Sendable, Encodable {
    let machine: String
    let sentAfterSeconds: Double
    let firstByteSeconds: Double
    var repliedAfterSeconds: Double { sentAfterSeconds + firstByteSeconds }
  }

  struct Storm: Sendable {
    let replies: [Reply]
    let allAwakeSeconds: Double
    let connectionsLost: Int
    let heldFrames: Int
    let droppedFrames: Int
    let wakes: Int
  }

  let machines: Int
  var growth: [Growth] = []
  var wakeDelays: [Double] = []
  /// Of the wakes in random order.
  var connectionsLost = 0
  var storm: Storm?
  var emulated: EmulatedGuestsResult?

  init(machines: Int) { self.machines = machines }

  private var connections: Int { machines * 2 }
  private var allConnectionsLost: Int { connectionsLost + (storm?.connectionsLost ?? 0) }

  /// The slope of daemon and sentry over the number of machines, by least squares; of one point, its value.
  private var daemonBytesPerMachine: Double {
    let points = growth.map { (Double($0.machines), Double($0.daemonBytes + $0.sentryBytes)) }
    let meanX = points.reduce(0) { $0 + $1.0 } / Double(points.count)
    let meanY = points.reduce(0) { $0 + $1.1 } / Double(points.count)
    let spread = points.reduce(0) { $0 + ($1.0 - meanX) * ($1.0 - meanX) }
    guard spread > 0 else { return meanY }
    return points.reduce(0) { $0 + ($1.0 - meanX) * ($1.1 - meanY) } / spread
  }

  /// One sentence for each promise that does not hold.
  var failures: [String] {
    var failures: [String] = []
    if allConnectionsLost > 0 { failures.append("\(allConnectionsLost) connections were lost") }
    if let storm {
      if storm.droppedFrames > 0 {
        failures.append("\(storm.droppedFrames) frames were dropped in the storm")
      }
      if storm.wakes != machines {
        failures.append("\(storm.wakes) wakes are counted in the storm of \(machines) machines")
      }
    }
    return failures + (emulated?.failures ?? [])
  }

  // MARK: - Text

  var text: String {
    let rows = growth.map { point in
      [
        "\(point.machines)", mebibytes(point.residentBytes), mebibytes(point.emulatorBytes),
        mebibytes(point.controlGroupBytes), mebibytes(point.swapBytes),
        mebibytes(point.daemonBytes), mebibytes(point.sentryBytes),
        decimal(point.daemonCPUPercent, 1) + " %", decimal(point.sentryCPUPercent, 1) + " %",
      ]
    }
    let head = [
      "asleep", "resident", "QEMUs", "groups", "in swap", "daemon", "sentry", "daemon CPU",
      "sentry CPU",
    ]
    let wakes = Quantiles(wakeDelays)
    var lines = ["\(machines) machines of 512 MiB from one template, two connections each.", ""]
    lines += table([head] + rows)
    lines += [
      "daemon and sentry grow by \(decimal(daemonBytesPerMachine / 1024, 1)) KiB for each machine",
      "",
      "Woken in random order, from sending to the reply",
      "  p50 \(milliseconds(wakes.p50)), p95 \(milliseconds(wakes.p95)), longest "
        + milliseconds(wakes.maximum),
    ]
    if let storm {
      let delays = Quantiles(storm.replies.map(\.firstByteSeconds))
      lines += [
        "All woken within one second",
        "  p50 \(milliseconds(delays.p50)), p95 \(milliseconds(delays.p95)), longest "
          + milliseconds(delays.maximum),
        "  all awake after \(milliseconds(storm.allAwakeSeconds)); \(storm.heldFrames) frames held, "
          + "\(storm.droppedFrames) dropped",
      ]
    }
    lines.append("Connections lost     \(allConnectionsLost) of \(connections)")
    if let emulated { lines += ["", emulated.text] }
    return lines.joined(separator: "\n")
  }

  // MARK: - JSON

  /// The interface of `make bench-density`. Times are seconds.
  struct Figures: Encodable {
    let virtualMachines: Int
    let assignedBytes: UInt64
    let residentBytes: UInt64
    let connections: Int
    let connectionsLost: Int
    let daemonBytesPerVM: Double
    let daemonCPUPercent: Double
    let growth: [Growth]
    let wakeP50: Double
    let wakeP95: Double
    let wakeMax: Double
    let storm: StormFigures?
    let emulated: EmulatedGuestsResult?
  }

  struct StormFigures: Encodable {
    let machines: Int
    let withinSeconds: Double
    let firstByteP50: Double
    let firstByteP95: Double
    let firstByteMax: Double
    let allAwakeSeconds: Double
    let connectionsLost: Int
    let heldFrames: Int
    let droppedFrames: Int
    /// By the time of the reply.
    let order: [Reply]
  }

  var figures: Figures {
    let last = growth.last
    let wakes = Quantiles(wakeDelays)
    return Figures(
      virtualMachines: machines, assignedBytes: UInt64(machines) * DensityField.machineBytes,
      residentBytes: last?.residentBytes ?? 0, connections: connections,
      connectionsLost: allConnectionsLost, daemonBytesPerVM: daemonBytesPerMachine,
      daemonCPUPercent: (last?.daemonCPUPercent ?? 0) + (last?.sentryCPUPercent ?? 0),
      growth: growth, wakeP50: wakes.p50, wakeP95: wakes.p95, wakeMax: wakes.maximum,
      storm: storm.map(figures), emulated: emulated)
  }

  private func figures(of storm: Storm) -> StormFigures {
    let delays = Quantiles(storm.replies.map(\.firstByteSeconds))
    return StormFigures(
      machines: machines, withinSeconds: storm.replies.map(\.sentAfterSeconds).max() ?? 0,
      firstByteP50: delays.p50, firstByteP95: delays.p95, firstByteMax: delays.maximum,
      allAwakeSeconds: storm.allAwakeSeconds, connectionsLost: storm.connectionsLost,
      heldFrames: storm.heldFrames, droppedFrames: storm.droppedFrames,
      order: storm.replies.sorted { $0.repliedAfterSeconds < $1.repliedAfterSeconds })
  }
}
