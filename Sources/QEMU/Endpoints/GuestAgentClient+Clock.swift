extension GuestAgentClient {
  /// How far the guest's clock may be off after ``setTime(_:deadline:)``.
  static let clockTolerance = Duration.seconds(1)

  /// Whether the agent answers (`guest-ping`).
  public func ping(deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("guest-ping", deadline: deadline)
  }

  /// The guest's wall clock, in nanoseconds since 1970, UTC (`guest-get-time`).
  public func getTime(deadline: Duration = .seconds(5)) async throws(QMPError) -> Int64 {
    guard let time = try await execute("guest-get-time", deadline: deadline).integerValue else {
      throw .unexpected("guest-get-time")
    }
    return time
  }

  /// Sets the guest's wall clock (`guest-set-time`).
  ///
  /// The agent sets the clock and then runs hwclock to set the hardware clock too; in guests without
  /// hwclock it reports an error although the clock is right. So an error is believed only if the
  /// guest's clock then is off by more than a second.
  ///
  /// - Parameters:
  ///   - nanosecondsSinceEpoch: the time now, in nanoseconds since 1970, UTC.
  ///   - deadline: for all of it.
  public func setTime(
    _ nanosecondsSinceEpoch: Int64, deadline: Duration = .seconds(5)
  ) async throws(QMPError) {
    let asked = ContinuousClock.now
    do throws(QMPError) {
      try await execute(
        "guest-set-time", ["time": .integer(nanosecondsSinceEpoch)], deadline: deadline)
    } catch  where error.code == .command {
      let elapsed = asked.duration(to: .now)
      let time = try await getTime(deadline: deadline - elapsed)
      let expected = Duration.nanoseconds(nanosecondsSinceEpoch) + asked.duration(to: .now)
      let difference = Duration.nanoseconds(time) - expected
      guard abs(difference) <= GuestAgentClient.clockTolerance else { throw error }
    }
  }
}

private func abs(_ duration: Duration) -> Duration {
  duration < .zero ? .zero - duration : duration
}
