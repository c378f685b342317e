import Glibc
import Logging
import ServiceLifecycle

/// Sees to it that a daemon which was told to end does so in time, whatever order is under way and
/// whoever does not answer.
///
/// Ending at any moment is safe: the next daemon puts right what this one leaves, and until then the sentry
/// guards.
struct ShutdownLimit: Service {
  static let time = Duration.milliseconds(1800)

  let logger: Logger

  /// Returns when the shutdown begins, so that the services told after this one are told at once.
  func run() async throws {
    try? await gracefulShutdown()
    Task.detached {
      try? await Task.sleep(for: Self.time)
      logger.notice("ending without waiting for the orders that are under way")
      _exit(0)
    }
  }
}
