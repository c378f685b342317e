import CLinux

/// CLOCK_MONOTONIC: never set back, the same for all processes of the host, stands still in suspend.
public enum MonotonicClock {
  /// Nanoseconds since some point at or before boot.
  public static func nowNanoseconds() -> UInt64 { dormouse_monotonic_nanoseconds() }
}

extension Duration {
  /// The whole duration in nanoseconds; negative durations give 0, those above 292 years the greatest
  /// value.
  package var clampedNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let (scaled, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return .max }
    let (sum, carried) = scaled.addingReportingOverflow(UInt64(attoseconds) / 1_000_000_000)
    return carried ? .max : sum
  }
}
