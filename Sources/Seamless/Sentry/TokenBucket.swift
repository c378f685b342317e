/// Lets through a burst, and after it one event per interval.
struct TokenBucket {
  private let burst: UInt64
  private let interval: UInt64
  private var tokens: UInt64
  private var refilled: UInt64

  /// - Parameters:
  ///   - interval: nanoseconds for one more token.
  ///   - now: monotonic nanoseconds; the bucket starts full.
  init(burst: UInt64, interval: UInt64, now: UInt64) {
    self.burst = burst
    self.interval = interval
    tokens = burst
    refilled = now
  }

  /// Takes a token if there is one.
  mutating func take(at now: UInt64) -> Bool {
    if now > refilled {
      let earned = (now - refilled) / interval
      if tokens + min(earned, burst) >= burst {
        tokens = burst
        refilled = now
      } else {
        tokens += earned
        refilled += earned * interval
      }
    }
    guard tokens > 0 else { return false }
    tokens -= 1
    return true
  }
}
