import Glibc

/// A line on the terminal that says what is being waited for, and for how long already. On standard
/// error, only when that is a terminal, and gone when the work is done.
enum Progress {
  /// Does the work, under a progress line when a person looks on.
  static func run<Value: Sendable>(
    _ what: String, _ work: @Sendable () async throws -> Value
  ) async throws -> Value {
    guard Console.isInteractive else { return try await work() }
    let previous = signal(SIGINT) { _ in
      let text: StaticString = "\r\u{1b}[Kdormouse: interrupted; the daemon carries on\n"
      _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
      signal(SIGINT, SIG_DFL)
      raise(SIGINT)
    }
    defer { signal(SIGINT, previous) }
    let line = Task { try await draw(what) }
    let result: Result<Value, any Error>
    do {
      result = .success(try await work())
    } catch {
      result = .failure(error)
    }
    line.cancel()
    // Wait for it, or its last frame comes after the line was wiped.
    _ = await line.result
    _ = Console.write("\r\u{1b}[K", to: STDERR_FILENO)
    return try result.get()
  }

  private static func draw(_ what: String) async throws {
    let clock = ContinuousClock()
    let start = clock.now
    // What is over at once needs no line.
    try await Task.sleep(for: .milliseconds(300))
    for frame in sequence(first: 0, next: { ($0 + 1) % 4 }) {
      let wheel = ["|", "/", "-", "\\"][frame]
      let passed = Quantities.format(seconds: (clock.now - start) / .seconds(1), rounded: true)
      _ = Console.write("\r\(wheel) \(what) (\(passed))\u{1b}[K", to: STDERR_FILENO)
      try await Task.sleep(for: .milliseconds(100))
    }
  }
}
