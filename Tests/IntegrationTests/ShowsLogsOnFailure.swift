import TestBed
import Testing

extension Trait where Self == IssueHandlingTrait {
  /// When something fails, the logs of what the lab has started are shown with it.
  static var showsLogsOnFailure: Self {
    .filterIssues { _ in
      TestFailureLog.show()
      return true
    }
  }
}
