extension GuestAgentClient {
  /// Asks the guest to shut down and power off (`guest-shutdown`).
  ///
  /// An agent that obeys does not answer, so silence until the deadline is no error.
  ///
  /// - Parameter deadline: how long a refusal is waited for.
  public func shutDown(deadline: Duration = .seconds(2)) async throws(QMPError) {
    do {
      try await execute("guest-shutdown", deadline: deadline)
    } catch  where error.code == .deadline || error.code == .closed {
      return
    }
  }
}
