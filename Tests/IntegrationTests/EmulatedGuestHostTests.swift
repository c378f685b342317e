import TestBed
import Testing

/// Hundreds of emulated guests behind one real sentry.
@Suite("One sentry for many", .showsLogsOnFailure)
struct EmulatedGuestHostTests {
  @Test("Hundreds sleep behind one sentry, and another one takes them all over")
  func takeover() async throws {
    let host = try await EmulatedGuestHost(capacity: 700, in: try Lab.current())
    try await host.grow(to: 100)
    let memory = try host.sentryMemory()
    let descriptors = try host.sentryDescriptors()
    try await host.grow(to: 700)
    // A list of them does not fit one message.
    let (names, isOneMessage) = try await host.roster()
    #expect(names.count == 700)
    #expect(!isOneMessage)
    #expect(try host.sentryDescriptors() - descriptors == 600 * 3)
    #expect((Double(try host.sentryMemory()) - Double(memory)) / 600 <= 16_384)
    for kind in EmulatedGuestHost.Request.allCases {
      let answers = try await host.ask(kind, 2_000, of: 0..<700)
      #expect(answers.answered == 2_000, "\(kind)")
    }

    try await host.killSentry()
    try await host.replaceSentry()
    #expect(try await host.roster().names == names)
    let answers = try await host.ask(.keepalive, 2_000, of: 0..<700)
    #expect(answers.answered == 2_000)

    let woken = Array((0..<700).shuffled().prefix(200))
    let delays = try await host.wake(woken, atOnce: true)
    #expect(delays.count { $0 == nil } == 0)
    try await host.putBackToSleep(woken)
    #expect(try await host.ask(.ping, 500, of: 0..<700).answered == 500)
    try await host.remove()
  }

  @Test("A flood for one guest keeps no answer from another")
  func fairness() async throws {
    let host = try await EmulatedGuestHost(capacity: 4, in: try Lab.current())
    try await host.grow(to: 4)
    async let flood = host.flood(0, for: .seconds(3))
    let answers = try await host.ask(.keepalive, 200, of: 1..<2, perSecond: 100)
    #expect(answers.answered == 200)
    // Far more than it can answer.
    #expect(try await flood > 10_000)
    try await host.remove()
  }

  @Test(
    "What a guest that does not wake is sent is held up to the bound, counted, and given in order")
  func overflow() async throws {
    let host = try await EmulatedGuestHost(capacity: 2, in: try Lab.current())
    try await host.grow(to: 2)
    let sent = 1_500
    try await host.withSilentMonitors {
      try await host.sendPayload(to: 0, segments: sent, over: .seconds(1))
      // The other one's answers do not wait for that.
      #expect(try await host.ask(.ping, 100, of: 1..<2).answered == 100)
    }
    try await eventually("the held frames to be delivered", within: .seconds(10)) {
      host.framesDelivered(to: 0) >= 1_000 ? () : nil
    }
    let outcome = try await eventually("the sentry's word of the wake", within: .seconds(10)) {
      try host.wakes(of: 0).first
    }
    #expect(outcome.heldFrames == 1_000)
    #expect(outcome.droppedFrames == sent - 1_000)
    #expect(host.framesDelivered(to: 0) == 1_000)
    try await host.remove()
  }
}
