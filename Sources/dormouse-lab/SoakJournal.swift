import TestBed

/// What the soak has done and seen.
actor SoakJournal {
  private var counts: [String: Int] = [:]
  private var delays: [String: [Double]] = [:]
  private(set) var violations: [String] = []

  func count(_ what: String) { counts[what, default: 0] += 1 }

  func note(_ what: String, delay: Duration) {
    count(what)
    delays[what, default: []].append(delay.inSeconds)
  }

  func violate(_ what: String) {
    Report.line("VIOLATION: \(what)")
    violations.append(what)
  }

  /// Lines of a table: how often each thing was done, and how long the replies took.
  var summary: [String] {
    let rows = counts.sorted { $0.key < $1.key }.map { what, count in
      let times = Quantiles(delays[what] ?? [])
      return [what, "\(count)"]
        + (delays[what] == nil
          ? ["", "", ""]
          : [milliseconds(times.p50), milliseconds(times.p95), milliseconds(times.maximum)])
    }
    return table([["", "times", "p50", "p95", "longest"]] + rows)
      + ["violations: \(violations.count)"]
  }
}
