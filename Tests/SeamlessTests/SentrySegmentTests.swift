import Frames
import Seamless
import Testing

#if DEBUG
  private let rounds = 600
#else
  private let rounds = 6_000
#endif

@Suite("Segments around a cursor")
struct SentrySegmentTests {
  /// Valid segments with fields around those of the cursor, and what must come out for each.
  @Test("Exactly the probes are answered", arguments: SentryScene.Wire.all)
  func segments(_ wire: SentryScene.Wire) throws {
    var generator = SeededGenerator(state: 5)
    let scene = try SentryScene(wire)
    scene.establish(start: 0xffff_fff3)
    var answers = 0
    func near(_ value: UInt32) -> UInt32 {
      value &+ UInt32(bitPattern: Int32.random(in: -3...3, using: &generator))
    }
    // What the guest remembers: the timestamp of a segment that reaches up to what it expects.
    var recent = scene.peerTimestamp
    for _ in 0..<rounds {
      scene.now += 10 * SentryScene.second
      scene.sentry.beginSleep()
      let sequence = near(scene.guestAcknowledgement)
      let acknowledgement =
        Bool.random(using: &generator) ? scene.guestSequence : near(scene.guestSequence)
      let length = Int.random(in: 0...2, using: &generator)
      let flags: TCPFlags =
        Bool.random(using: &generator)
        ? .ack : TCPFlags(rawValue: UInt8.random(in: 0...63, using: &generator))
      let stamps =
        Int.random(in: 0...7, using: &generator) == 0
        ? nil : (near(recent &+ 2), near(scene.guestTimestamp &- 3))
      let probe = scene.peerSegment {
        $0.sequence = sequence
        $0.acknowledgement = acknowledgement
        $0.flags = flags
        $0.timestamps = wire.timestamps ? stamps : nil
        $0.payload = Bytes(repeating: 1, count: length)
      }
      let age = stamps.map { Int32(bitPattern: $0.0 &- recent) } ?? -1
      let isHonest =
        acknowledgement == scene.guestSequence && flags.subtracting(.psh) == .ack
        && (!wire.timestamps || age >= 0)
      let isProbe = sequence == scene.guestAcknowledgement &- 1 && length <= 1 && isHonest
      if isHonest, sequence &+ UInt32(length) == scene.guestAcknowledgement, length <= 1, age > 0,
        let stamps
      {
        recent = stamps.0
      }
      let verdict = scene.judge(probe)
      #expect((verdict == .answer(1)) == isProbe, "\(verdict)")
      if isProbe {
        answers += 1
        let answer = try #require(scene.answers.first)
        #expect(fault(in: answer, to: probe, scene, recent) == nil && defect(in: answer) == nil)
      }
    }
    #expect(answers > rounds / 60)
  }

  // MARK: - Means

  /// What a reply says that the guest has not said; `nil` if nothing. Reads the bytes by itself.
  private func fault(
    in answer: Bytes, to frame: Bytes, _ scene: SentryScene, _ recent: UInt32
  ) -> String? {
    guard Bytes(answer[6..<12]) == wireForm(SentryScene.guestMAC) else { return "a foreign source" }
    var start = 12
    while number(answer, start, 2) == 0x8100 || number(answer, start, 2) == 0x88a8 { start += 4 }
    guard answer[12..<start + 2] == frame[12..<start + 2] else { return "other tags" }
    let type = number(answer, start, 2)
    start += 2
    let isIPv6 = type == 0x86dd
    let source = Bytes(isIPv6 ? answer[start + 8..<start + 24] : answer[start + 12..<start + 16])
    guard source == wireForm(scene.guest) else { return "a foreign address" }
    guard answer[start + (isIPv6 ? 6 : 9)] == 6 else { return "another protocol" }

    let reply = start + (isIPv6 ? 40 : 20)
    let probe = reply
    guard number(answer, reply + 4, 4) == UInt64(scene.guestSequence) else { return "SEQ" }
    guard number(answer, reply + 8, 4) == UInt64(scene.guestAcknowledgement) else { return "ACK" }
    guard answer[reply + 13] == 0x10 else { return "flags" }
    guard number(answer, reply + 14, 2) == UInt64(scene.guestWindow) else { return "window" }
    guard answer.count == reply + Int(answer[reply + 12] >> 4) * 4 else { return "payload" }
    guard number(frame, probe + 4, 4) == UInt64(scene.guestAcknowledgement &- 1) else {
      return "probe's SEQ"
    }
    guard number(frame, probe + 8, 4) == UInt64(scene.guestSequence) else { return "probe's ACK" }
    guard frame[probe + 13] & 0x37 == 0x10 else { return "probe's flags" }
    let total = isIPv6 ? 40 + Int(number(frame, start + 4, 2)) : Int(number(frame, start + 2, 2))
    let payload = total - (probe - start) - Int(frame[probe + 12] >> 4) * 4
    guard (0...1).contains(payload) else { return "probe's length" }
    guard scene.wire.timestamps else { return answer.count == reply + 20 ? nil : "options" }
    guard number(answer, reply + 24, 4) == UInt64(scene.guestTimestamp) else { return "TSval" }
    return number(answer, reply + 28, 4) == UInt64(recent) ? nil : "TSecr"
  }
}
