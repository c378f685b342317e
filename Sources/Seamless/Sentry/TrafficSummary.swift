import LinuxNetwork

/// What a VM's traffic looked like since its sentry began to watch.
public struct TrafficSummary: Hashable, Sendable {
  /// When a frame of use was last seen, in monotonic nanoseconds; the beginning if none was.
  public internal(set) var lastUse: UInt64
  /// When the guest was last sent payload that it has not sent any after; nil once it has. Seen over all of
  /// its connections: what answers one question hides another.
  private(set) var lastQuestion: UInt64?
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

  mutating func count(
    _ activity: Activity, direction: PacketSocket.Direction, at now: UInt64
  ) {
    counts.values[activity.rawValue] &+= 1
    if [.payload, .datagram, .otherUnicast].contains(activity) {
      lastQuestion = direction == .toGuest ? now : nil
    }
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
