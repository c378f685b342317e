import Glibc

/// Places where a test may make this process die or halt, to see what the others make of it.
///
/// An escape hatch for tests and nothing else: it is read once from the environment, and a process that
/// has any says so loudly when it starts. The syntax is `NAME=kill` or `NAME=halt`, several separated by
/// commas; `kill` is SIGKILL, `halt` is SIGSTOP (somebody else sends SIGCONT).
public struct Failpoints: Sendable {
  private enum Action: Sendable {
    case kill
    case halt
  }

  private let actions: [String: Action]

  /// Reads the failpoints from an environment variable's value; what cannot be understood is ignored.
  public init(_ specification: String?) {
    var actions: [String: Action] = [:]
    for item in (specification ?? "").split(separator: ",") {
      let parts = item.split(separator: "=", maxSplits: 1)
      guard parts.count == 2 else { continue }
      switch parts[1] {
      case "kill": actions[String(parts[0])] = .kill
      case "halt": actions[String(parts[0])] = .halt
      default: continue
      }
    }
    self.actions = actions
  }

  /// The failpoints of `DORMOUSE_FAILPOINTS`.
  public static func fromEnvironment() -> Failpoints {
    Failpoints(getenv("DORMOUSE_FAILPOINTS").map { String(cString: $0) })
  }

  /// What is set, for the warning at start; nil when nothing is.
  public var summary: String? {
    actions.isEmpty ? nil : actions.keys.sorted().joined(separator: ", ")
  }

  /// Dies or halts here if a test wants it.
  public func reach(_ name: String) {
    switch actions[name] {
    case nil: return
    case .kill: kill(getpid(), SIGKILL)
    case .halt: kill(getpid(), SIGSTOP)
    }
  }
}
