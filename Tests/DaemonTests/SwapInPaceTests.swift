import Daemon
import Testing

@Suite("Background swap-in")
struct SwapInPaceTests {
  @Test func allTogetherKeepToTheRate() async {
    let pace = SwapInPace(bytesPerSecond: 32 << 20)
    let start = ContinuousClock.now
    var turns: [ContinuousClock.Instant] = []
    for _ in 0..<65 { turns.append(await pace.turn(for: 1 << 20, now: start)) }
    #expect(turns.first == start)
    #expect(abs((turns[64] - start) / .seconds(1) - 2) < 0.001)
    // Time in which nobody has read is not made up for.
    let later = start + .seconds(60)
    #expect(await pace.turn(for: 1 << 20, now: later) == later)
    #expect(await pace.turn(for: 1 << 20, now: later) > later)
  }
}
