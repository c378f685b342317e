/// Pieces of work that are done one after the other, in the order in which they were given.
struct SerialWork {
  private var last: Task<Void, Never>?

  /// Does it after all that was given before, whether or not that failed.
  @discardableResult
  mutating func add<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
  ) -> Task<Value, any Error> {
    let earlier = last
    let work = Task {
      await earlier?.value
      return try await body()
    }
    last = Task { _ = await work.result }
    return work
  }
}
