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

  /// A keepalive's answer over IPv4 with timestamps, and the refusal of a connection over IPv6.
  private static let acknowledgement = bytes(
    "02d1ff00002252540077010a08004500003400004000400623690a4d010a0a4d01b8005004235e387becb4e81940"
      + "8010fe69672000000101080af87a2f2800042570")
  private static let refusal = bytes(
    "02d1ff00000152540077010a86dd6000000000140640fd77000100000000000000000000000afd77000100000000"
      + "00000000d1ff0002ffff4eb700000000bd8a4704501400008f8d0000")

  private static func bytes(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  /// Identification, both checksums and TSval; flow label and checksum.
  private static let forgiven = [
    acknowledgement: Set([18, 19, 24, 25, 50, 51, 58, 59, 60, 61]), refusal: [15, 16, 17, 70, 71],
  ]

  @Test("The comparison sees every bit that is not the guest's", arguments: forgiven)
  func seesDifferences(_ answer: [UInt8], _ forgiven: Set<Int>) {
    #expect(AnswerComparison.difference(sentry: [answer], guest: [answer]) == nil)
    #expect(AnswerComparison.difference(sentry: [answer], guest: []) != nil)
    #expect(AnswerComparison.difference(sentry: [], guest: [answer]) != nil)
    #expect(AnswerComparison.difference(sentry: [answer], guest: [answer, answer]) != nil)
    for place in answer.indices {
      for bit in 0..<8 {
        var other = answer
        other[place] ^= 1 << bit
        // The traffic class shares a byte with the flow label.
        let isForgiven = forgiven.contains(place) && !(place == 15 && bit > 3)
        // A guest's clock does not go back; half around is ahead.
        let isOlder =
          forgiven.contains(60) && (58...61).contains(place) && other[place] < answer[place]
          && (place, bit) != (58, 7)
        let difference = AnswerComparison.difference(sentry: [answer], guest: [other])
        #expect((difference == nil) == (isForgiven && !isOlder), "bit \(bit) of byte \(place)")
        if place > 13, answer == Self.acknowledgement {
          // The sentry's own checksums must be right; they cover all of an IPv4 packet.
          #expect(AnswerComparison.difference(sentry: [other], guest: [other]) != nil)
        }
      }
    }
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
