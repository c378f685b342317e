public import API

extension LabDaemon {
  /// Orders a virtual machine to sleep, again and again while it is in use or woken before it sleeps.
  ///
  /// - Parameters:
  ///   - interval: between two orders.
  ///   - onRefusal: told why it was not put to sleep.
  /// - Throws: ``TestBedError/Code/deadline``, or the daemon's error when it is no refusal.
  public nonisolated func sleepWhenQuiet(
    _ name: String, within deadline: Duration = .seconds(20),
    every interval: Duration = .milliseconds(100), onRefusal: (String) -> Void = { _ in }
  ) async throws -> VirtualMachine {
    try await eventually("\(name) to fall asleep", within: deadline, every: interval) {
      do {
        return try await client.sleep(name)
      } catch let error as APIError where error.code == .refused || error.code == .conflict {
        onRefusal(error.message)
        return nil
      }
    }
  }
}
