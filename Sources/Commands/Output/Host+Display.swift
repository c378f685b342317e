public import API
public import FoundationEssentials

extension HostStatus: DetailDisplayable {
  /// The lines of `status`.
  public func details(now: Date) -> [(label: String, value: String)] {
    let machines = VirtualMachine.State.allCases.compactMap { state -> String? in
      guard let count = virtualMachines[state.rawValue], count > 0 else { return nil }
      return "\(count) \(state.told)"
    }
    let available = Quantities.format(bytes: memoryAvailableBytes)
    let free = Quantities.format(bytes: swapFreeBytes)
    let process = sentry.pid.map { ", process \($0)" } ?? ""
    return [
      ("Daemon", "\(version), process \(pid), since \(Quantities.format(since, relativeTo: now))"),
      ("Sentry", sentry.state.rawValue + process),
      ("Memory", "\(available) available of \(Quantities.format(bytes: memoryTotalBytes))"),
      (
        "Swap",
        swapTotalBytes == 0
          ? "none" : "\(free) free of \(Quantities.format(bytes: swapTotalBytes))"
      ),
      ("Virtual machines", machines.isEmpty ? "none" : machines.joined(separator: ", ")),
    ]
  }
}

extension DoctorReport: DetailDisplayable {
  /// The lines of `doctor`: each finding, and its advice below it.
  public func details(now: Date) -> [(label: String, value: String)] {
    findings.flatMap { finding in
      let verdict = finding.status == .ok ? "ok" : finding.status.rawValue.uppercased()
      var lines = [(label: finding.check, value: "\(verdict): \(finding.message)")]
      if let advice = finding.advice { lines.append((label: "  advice", value: advice)) }
      return lines
    }
  }
}

extension Event: ListDisplayable {
  /// The heads of the columns of `events`.
  public static var tableHeader: [String] { ["TIME", "NAME", "KIND", "MESSAGE"] }

  /// The row of `events`.
  public func tableRow(now: Date) -> [String] {
    [APICoding.string(from: at), virtualMachine ?? "-", kind.rawValue, message]
  }

  /// Its number.
  public var quietValue: String { "\(sequence)" }

  /// The event as one line of a stream, whose columns cannot know what comes later.
  public func line(as format: OutputFormat) throws -> String {
    if format == .json {
      return String(decoding: try APICoding.encoder().encode(self), as: UTF8.self)
    }
    let cells = [APICoding.string(from: at), virtualMachine ?? "-", kind.rawValue]
    let widths = [24, 12, 15]
    let columns = zip(cells, widths).map { cell, width in
      let cell = Table.clean(cell)
      return cell + String(repeating: " ", count: max(0, width - cell.count))
    }
    return (columns + [Table.clean(message)]).joined(separator: "  ")
  }
}
