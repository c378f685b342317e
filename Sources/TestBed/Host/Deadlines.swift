/// Runs a body that must come to its end in time, and cancels it when it does not.
///
/// - Parameter what: completes the sentence "waited 5 s for ...".
/// - Throws: ``TestBedError/Code/deadline``, or what the body throws.
public func within<Value: Sendable>(
  _ deadline: Duration, _ what: String, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value?.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await Task.sleep(for: deadline)
      return nil
    }
    defer { group.cancelAll() }
    guard let first = try await group.next(), let value = first else {
      throw TestBedError(code: .deadline, message: "waited \(deadline) in vain for \(what)")
    }
    return value
  }
}

/// Asks again and again until the answer is there.
///
/// - Parameters:
///   - what: completes the sentence "waited 5 s for ...".
///   - interval: the pause between two questions.
///   - body: the question; nil asks for another try. An error ends the wait.
@discardableResult
public nonisolated(nonsending) func eventually<Value: Sendable>(
  _ what: String, within deadline: Duration, every interval: Duration = .milliseconds(50),
  _ body: nonisolated(nonsending) () async throws -> Value?
) async throws -> Value {
  let clock = ContinuousClock()
  let end = clock.now + deadline
  while true {
    if let value = try await body() { return value }
    guard clock.now < end else {
      throw TestBedError(code: .deadline, message: "waited \(deadline) in vain for \(what)")
    }
    try await Task.sleep(for: interval)
  }
}

extension Duration {
  /// The duration in seconds, for statistics and for people.
  public var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
