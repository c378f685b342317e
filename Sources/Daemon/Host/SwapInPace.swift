/// When the next portion of a background swap-in may be read: all VMs of a host together keep to one rate.
package actor SwapInPace {
  private let bytesPerSecond: Double
  private var next: ContinuousClock.Instant?

  package init(bytesPerSecond: UInt64) {
    self.bytesPerSecond = Double(max(bytesPerSecond, 1))
  }

  /// Books the time that so many bytes may take, and returns when that begins. Whoever gives up before has
  /// slowed the others down by that much.
  package func turn(
    for bytes: UInt64, now: ContinuousClock.Instant = .now
  ) -> ContinuousClock.Instant {
    let turn = max(next ?? now, now)
    next = turn + .seconds(Double(bytes) / bytesPerSecond)
    return turn
  }
}
