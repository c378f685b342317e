import FoundationEssentials
import Synchronization

/// The log files of what the lab has started, to be shown when a test fails.
public enum TestFailureLog {
  private struct State {
    var files: [String] = []
    /// Characters of each file that were shown already.
    var shown: [String: Int] = [:]
  }

  private static let state = Mutex(State())

  /// Remembers a file; it may not exist yet.
  public static func add(_ path: String) {
    state.withLock { if !$0.files.contains(path) { $0.files.append(path) } }
  }

  /// Forgets all files, so that a failure does not show what an earlier test has done.
  public static func reset() {
    state.withLock { $0 = State() }
  }

  /// Writes the last lines of all files to standard error, those only that no earlier call has written.
  public static func show(lines limit: Int = 60) {
    state.withLock { state in
      for path in state.files {
        guard let content = FileManager.default.contents(atPath: path) else { continue }
        let new = content.dropFirst(state.shown[path] ?? 0)
        state.shown[path] = content.count
        let lines = String(decoding: new, as: UTF8.self).split(whereSeparator: \.isNewline)
        guard !lines.isEmpty else { continue }
        Report.line("---- \(path) (last \(min(limit, lines.count)) lines)")
        for line in lines.suffix(limit) { Report.line("| \(line)") }
      }
    }
  }
}
