/// Lets a few in at a time, in the order of their coming. What each wake needs of the host's disk or
/// processors would slow all others down if hundreds needed it at once.
actor Turnstile {
  private var free: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// - Parameter places: how many may be in at a time, at least one.
  init(places: Int) {
    free = max(places, 1)
  }

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
