import FoundationEssentials
import TestBed
import Testing

/// What is said of the comparison of the sentry's answers with the guest's.
@Suite
struct DifferentialTests {
  @Test("docs/presence.md has every difference by design and all that is not compared")
  func documented() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let text = try String(contentsOf: root.appending(path: "docs/presence.md"), encoding: .utf8)
    for designed in DesignedSilence.all {
      #expect(text.contains("| `\(designed.name)` | \(designed.reason) |"))
    }
    for (field, why) in AnswerComparison.normalisations {
      #expect(text.contains("| \(field) | \(why) |"))
    }
  }
}
