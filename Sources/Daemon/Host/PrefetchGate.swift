/// Who may read ahead from swap at this moment. With many wakes at a time each would slow all others down;
/// so they take turns, and each turn is short.
actor PrefetchGate {
  /// One keeps a disk hardly busy; more than a few keep faults waiting.
  private static let places = 4

  private var free = places
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// Runs the body when it is its turn.
  nonisolated func turn<Value: Sendable>(
    _ body: @Sendable () async throws -> Value
  ) async rethrows -> Value {
    await enter()
    do {
      let value = try await body()
      await leave()
      return value
    } catch {
      await leave()
      throw error
    }
  }

  private func enter() async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation { waiting.append($0) }
    }
  }

  private func leave() {
    if waiting.isEmpty {
      free += 1
    } else {
      waiting.removeFirst().resume()
    }
  }
}
