import TestBed

/// What thousands of emulated guests behind one sentry cost. All times in seconds, memory in bytes.
struct EmulatedGuestsResult: Encodable, Sendable {
  /// The sentry with so many guests asleep.
  struct Growth: Encodable, Sendable {
    let guests: Int
    /// Proportional set size of the sentry.
    let sentryBytes: UInt64
    /// Of one processor, while nobody asks for anything.
    let idleCPUPercent: Double
    /// The sentry's processor time for one keepalive, to random guests.
    let microsecondsPerKeepalive: Double
    let descriptors: Int
  }

  let guests: Int
  let growth: [Growth]
  /// Memory of the sentry that one more guest takes.
  let sentryBytesPerVM: Double
  let descriptorsPerVM: Double
  let framesSent: Int
  let framesAnswered: Int
  let wakeP50Seconds: Double
  let wakeP95Seconds: Double
  let wakeMaxSeconds: Double
  /// Guests that were woken at the same moment, and how long after its frame each got it.
  let burstWakes: Int
  let burstP50Seconds: Double
  let burstP95Seconds: Double
  let burstMaxSeconds: Double
  /// Frames for woken guests that never reached them.
  let wakesLost: Int
  let setUpSeconds: Double
  let tearDownSeconds: Double
}

/// Measures a real sentry with so many emulated guests asleep behind it; see ``TestBed/EmulatedGuestHost`` for what
/// is emulated.
///
/// - Parameters:
///   - count: guests; a hundredth and a tenth of them are measured on the way.
///   - requests: keepalives of each measurement.
func emulatedGuests(
  count: Int = 5_000, requests: Int = 20_000, in lab: Lab
) async throws -> EmulatedGuestsResult {
  let clock = ContinuousClock()
  let host = try await EmulatedGuestHost(capacity: count, isKeeping: false, in: lab)
  var growth: [EmulatedGuestsResult.Growth] = []
  var sent = 0
  var answered = 0
  var setUp = Duration.zero
  for size in [count / 100, count / 10, count] where size > 0 {
    Report.line("making \(size) emulated guests")
    let began = clock.now
    try await host.grow(to: size)
    setUp += clock.now - began
    try await Task.sleep(for: .seconds(1))
    let idleBefore = try host.sentryTime()
    try await Task.sleep(for: .seconds(5))
    let idle = try host.sentryTime() - idleBefore
    let answers = try await host.ask(.keepalive, requests, of: 0..<size)
    sent += answers.sent
    answered += answers.answered
    growth.append(
      EmulatedGuestsResult.Growth(
        guests: size, sentryBytes: try host.sentryMemory(),
        idleCPUPercent: idle.inSeconds / 5 * 100,
        microsecondsPerKeepalive: answers.sentrySeconds / Double(max(answers.answered, 1)) * 1e6,
        descriptors: try host.sentryDescriptors()))
  }
  Report.line("waking some of \(count) emulated guests")
  let shuffled = (0..<count).shuffled()
  let single = try await host.wake(Array(shuffled.prefix(count / 50)), atOnce: false)
  let burst = Array(shuffled.dropFirst(count / 50).prefix(1_000))
  let storm = try await host.wake(burst, atOnce: true)
  let began = clock.now
  try await host.remove()
  let wakes = Quantiles(single.compactMap { $0 })
  let storms = Quantiles(storm.compactMap { $0 })
  guard let first = growth.first, let last = growth.last else {
    throw TestBedError(code: .malformed, message: "\(count) guests are too few to measure")
  }
  let added = Double(max(last.guests - first.guests, 1))
  return EmulatedGuestsResult(
    guests: count, growth: growth,
    sentryBytesPerVM: (Double(last.sentryBytes) - Double(first.sentryBytes)) / added,
    descriptorsPerVM: Double(last.descriptors - first.descriptors) / added,
    framesSent: sent, framesAnswered: answered,
    wakeP50Seconds: wakes.p50, wakeP95Seconds: wakes.p95, wakeMaxSeconds: wakes.maximum,
    burstWakes: burst.count, burstP50Seconds: storms.p50, burstP95Seconds: storms.p95,
    burstMaxSeconds: storms.maximum,
    wakesLost: (single + storm).count { $0 == nil },
    setUpSeconds: setUp.inSeconds, tearDownSeconds: (clock.now - began).inSeconds)
}

extension EmulatedGuestsResult {
  /// One sentence for each promise that does not hold.
  var failures: [String] {
    var failures: [String] = []
    if framesAnswered < framesSent {
      failures.append("\(framesSent - framesAnswered) of \(framesSent) frames were not answered")
    }
    if wakesLost > 0 { failures.append("\(wakesLost) woken guests did not get their frame") }
    if !(sentryBytesPerVM <= 16_384) {
      failures.append("the sentry takes \(Int(sentryBytesPerVM)) bytes per guest, not 16384")
    }
    if !(descriptorsPerVM <= 3.01) {
      failures.append("the sentry takes \(decimal(descriptorsPerVM, 2)) descriptors per guest")
    }
    return failures
  }

  var text: String {
    let rows =
      [["guests", "sentry", "idle", "per keepalive", "descriptors"]]
      + growth.map {
        [
          "\($0.guests)", "\(decimal(Double($0.sentryBytes) / 1_048_576, 1)) MiB",
          "\(decimal($0.idleCPUPercent, 2)) %", "\(decimal($0.microsecondsPerKeepalive, 1)) us",
          "\($0.descriptors)",
        ]
      }
    return """
      \(guests) emulated guests asleep behind one real sentry (made in \(decimal(setUpSeconds, 1)) s)

      \(table(rows).joined(separator: "\n"))

      One more guest takes \(decimal(sentryBytesPerVM / 1024, 1)) KiB of the sentry
      Frames answered    \(framesAnswered) of \(framesSent)
      Waking one         p50 \(milliseconds(wakeP50Seconds)), p95 \(milliseconds(wakeP95Seconds)), \
      longest \(milliseconds(wakeMaxSeconds))
      Waking \(burstWakes) at once  p50 \(milliseconds(burstP50Seconds)), \
      p95 \(milliseconds(burstP95Seconds)), longest \(milliseconds(burstMaxSeconds)); \
      \(wakesLost) lost
      """
  }
}
