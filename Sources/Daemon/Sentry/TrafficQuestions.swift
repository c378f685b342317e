import Seamless

/// Gathers what awake VMs want to know of the sentry at about the same time, and asks it once.
package actor TrafficQuestions {
  /// How long a question waits for others.
  private static let window = Duration.milliseconds(5)
  /// VMs in one request: as many as fit a message with names of the greatest length.
  private static let limit = 512

  private var waiting: [String: [CheckedContinuation<TrafficReport, any Error>]] = [:]

  package init() {}

  /// - Parameter ask: asks the sentry about VMs; those that it does not know are not in its answer.
  /// - Throws: ``SentryError``.
  package func report(
    of name: String, asking ask: @escaping @Sendable ([String]) async throws -> [TrafficReport]
  ) async throws -> TrafficReport {
    let isFirst = waiting.isEmpty
    return try await withCheckedThrowingContinuation { continuation in
      waiting[name, default: []].append(continuation)
      guard isFirst else { return }
      Task {
        try? await Task.sleep(for: Self.window)
        await self.answerAll(asking: ask)
      }
    }
  }

  private func answerAll(asking ask: ([String]) async throws -> [TrafficReport]) async {
    var asked = waiting
    waiting = [:]
    let names = Array(asked.keys)
    for start in stride(from: 0, to: names.count, by: Self.limit) {
      let some = Array(names[start..<min(start + Self.limit, names.count)])
      do {
        for report in try await ask(some) {
          for one in asked.removeValue(forKey: report.name) ?? [] { one.resume(returning: report) }
        }
        for name in some {
          let error = SentryError(.refused, "the sentry has no machine named \(name)")
          for one in asked.removeValue(forKey: name) ?? [] { one.resume(throwing: error) }
        }
      } catch {
        for name in some {
          for one in asked.removeValue(forKey: name) ?? [] { one.resume(throwing: error) }
        }
      }
    }
  }
}
