import TestBed

/// Shows the end of all logs when the body fails: with the lab they are gone.
nonisolated(nonsending) func showingLogs<Value>(
  _ body: nonisolated(nonsending) () async throws -> Value
) async throws -> Value {
  do {
    return try await body()
  } catch {
    TestFailureLog.show(lines: 30)
    throw error
  }
}
