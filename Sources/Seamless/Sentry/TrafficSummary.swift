/// What a VM's traffic looked like since its sentry began to watch.
public struct TrafficSummary: Hashable, Sendable {
  /// When a frame of use was last seen, in monotonic nanoseconds; the beginning if none was.
  public internal(set) var lastUse: UInt64
  /// Frames of use. Grows only.
  public internal(set) var framesOfUse: UInt64 = 0
  /// How often learning had to start anew.
  public internal(set) var invalidations: UInt64 = 0
  private var counts = InlineCounts()

  init(at now: UInt64) {
    lastUse = now
  }

  /// Frames of one kind, both ways.
  public func frames(of activity: Activity) -> UInt64 {
    counts.values[activity.rawValue]
  }

  mutating func count(_ activity: Activity, at now: UInt64) {
    counts.values[activity.rawValue] &+= 1
    if activity.isUse {
      framesOfUse &+= 1
      lastUse = max(lastUse, now)
    }
  }
}

/// One number per kind of activity.
private struct InlineCounts: Hashable, Sendable {
  var values = [UInt64](repeating: 0, count: Activity.allCases.count)
}
