import FoundationEssentials
import TestBed
import Testing

/// The sentry's answers, frame for frame, against those of the guest that it answers for.
@Suite(.serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure)
struct DifferentialTests {
  @Test("Asleep and awake, 5,000 frames get the same answers")
  func sameAnswers() async throws {
    TestFailureLog.reset()
    let seed = UInt64.random(in: 1...(.max))
    print("differential: --seed \(seed) --frames-per-sleep 2500")
    let tester = try await DifferentialTester(in: try Lab.current())
    let result = try await tester.run(frames: 5_000, seed: seed, framesPerRound: 2_500)
    await tester.tearDown()
    for difference in result.differences.prefix(20) {
      Issue.record("\(difference.description)frame: \(difference.frame)")
    }
    #expect(result.differences.isEmpty)
    #expect(result.frames == 5_000)
    // Of no use if most frames are broken.
    #expect(result.sameAnswer > 1_000)
    #expect(result.wakesTried == result.rounds && result.wakesAnswered == result.wakesTried)
    print(
      "differential: \(result.sameAnswer) answered alike, \(result.bothSilent) by nobody, "
        + "\(result.woken) left to the guest, \(result.silentByDesign) by design, "
        + "\(result.seconds) s")
  }

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
