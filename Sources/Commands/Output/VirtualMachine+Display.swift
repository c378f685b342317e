public import API
public import FoundationEssentials

extension VirtualMachine: ListDisplayable {
  /// The heads of the columns of `list`.
  public static var tableHeader: [String] {
    ["NAME", "STATE", "SINCE", "CPUS", "MEMORY", "RELEASED", "ADDRESSES"]
  }

  /// The row of `list`.
  public func tableRow(now: Date) -> [String] {
    [
      name, state.told, Quantities.format(stateSince, relativeTo: now), "\(cpus)",
      Quantities.format(bytes: memoryBytes),
      sleep.map { Quantities.format(bytes: $0.releasedBytes) } ?? "-",
      networks.flatMap(\.addresses).joined(separator: " "),
    ]
  }

  /// Its name.
  public var quietValue: String { name }
}

extension VirtualMachine: DetailDisplayable {
  /// The lines of `show`.
  public func details(now: Date) -> [(label: String, value: String)] {
    var lines = [
      ("Name", name),
      ("State", "\(state.told), since \(Quantities.format(stateSince, relativeTo: now))"),
    ]
    if let pid { lines.append(("Process", "\(pid)")) }
    lines.append(("Memory", Quantities.format(bytes: memoryBytes)))
    lines.append(("CPUs", "\(cpus)"))
    if let machineType {
      lines.append(("Machine", machineType + (accelerator.map { ", \($0)" } ?? "")))
    }
    if let template { lines.append(("Continues", "from \(template), when it is started")) }
    for network in networks {
      let tap = network.tap.map { ", tap \($0)" } ?? ""
      lines.append(("Network", "bridge \(network.bridge), \(network.macAddress)\(tap)"))
      if !network.addresses.isEmpty {
        lines.append(("Addresses", network.addresses.joined(separator: " ")))
      }
    }
    let idle = idleAfterSeconds.map { "after \(Quantities.format(seconds: $0)) without activity" }
    lines.append(("Falls asleep", idle ?? "only by order"))
    lines.append(("Read back", swapIn.told))
    lines.append(("So far", "slept \(sleeps) \(times(sleeps)), woken \(wakes) \(times(wakes))"))
    if let sleep { lines.append(contentsOf: sleep.details) }
    if let lastWake { lines.append(contentsOf: lastWake.details(now: now)) }
    if let lastFailure {
      let when = Quantities.format(lastFailure.at, relativeTo: now)
      lines.append(("Last failure", "\(when): \(lastFailure.message)"))
    }
    for obstacle in obstacles { lines.append(("Cannot sleep", obstacle)) }
    return lines
  }

  private func times(_ count: Int) -> String { count == 1 ? "time" : "times" }
}

extension VirtualMachine.State {
  /// The state in words.
  var told: String { self == .fallingAsleep ? "falling asleep" : rawValue }
}

extension SwapInMode {
  /// What is read back after a wake, in words.
  var told: String {
    switch self {
    case .lazy: "as needed"
    case .background: "as needed, then slowly in full"
    }
  }
}

extension SleepReport {
  fileprivate var details: [(String, String)] {
    let released = Quantities.format(bytes: releasedBytes)
    let touched = Quantities.format(bytes: touchedBytes)
    let took = Quantities.format(seconds: durationSeconds)
    let ofQEMU = qemuReleasedBytes.map { ", \(Quantities.format(bytes: $0)) of QEMU" } ?? ""
    let process =
      processResidentBytes.map { "; QEMU has \(Quantities.format(bytes: $0)) in all" } ?? ""
    return [
      ("Released", "\(released) of \(touched)\(ofQEMU), in \(took)"),
      (
        "Now",
        "\(Quantities.format(bytes: residentBytes)) resident, "
          + "\(Quantities.format(bytes: swapBytes)) in swap, "
          + "host gained \(Quantities.format(bytes: netGainBytes))\(process)"
      ),
      ("Answered by", proxy),
    ]
  }
}

extension WakeReport {
  fileprivate func details(now: Date) -> [(String, String)] {
    let by = flow.map { " (\($0))" } ?? ""
    var times: [String] = []
    if let firstFrameToContinueSeconds {
      let seconds = Quantities.format(seconds: firstFrameToContinueSeconds)
      times.append("\(seconds) from first frame to go-on")
    }
    times.append("\(Quantities.format(seconds: continueSeconds)) to go on")
    times.append("\(Quantities.format(seconds: totalSeconds)) in all")
    return [
      ("Last wake", "\(Quantities.format(at, relativeTo: now)), by \(reason)\(by)"),
      ("It took", times.joined(separator: ", ")),
      (
        "It did",
        "\(heldFrames) held \(heldFrames == 1 ? "frame" : "frames") delivered, "
          + "\(Quantities.format(bytes: prefetchedBytes)) read ahead, "
          + (clockStepped ? "clock set" : "clock not set")
      ),
    ]
  }
}
