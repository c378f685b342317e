import Failpoints
import Glibc
import LinuxSystem

/// The life of a `dormouse-sentry` process.
public enum SentryMain {
  /// Serves the daemon on an inherited listening socket until there is nothing left to do.
  ///
  /// - Returns: the exit status.
  public static func run(listenDescriptor: Int32) -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    let failpoints = Failpoints.fromEnvironment()
    if let summary = failpoints.summary {
      complain("TEST MODE: this sentry kills or halts itself at: \(summary)")
    }
    do {
      try SentryServer(
        listener: OwnedFileDescriptor(owning: listenDescriptor), failpoints: failpoints
      ).run()
      return 0
    } catch {
      complain("\(error)")
      return 1
    }
  }

  /// Says how the program is meant to be started; returns the exit status.
  public static func refuse() -> Int32 {
    complain("usage: dormouse-sentry --listen-descriptor N (started by dormoused)")
    return 64
  }

  private static func complain(_ message: String) {
    let line = "dormouse-sentry: \(message)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
  }
}
