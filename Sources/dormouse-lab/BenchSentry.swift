import ArgumentParser
import FoundationEssentials
import TestBed

struct BenchSentry: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-sentry",
    abstract:
      "Measure what the sentry costs: answering for sleeping guests, learning from awake ones.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab bench-sentry

      The sentry is confined to one processor, its client to another. Ends with a status other than 0 when a \
      frame was not answered.
      """)

  @Option(help: "Requests of each kind.")
  var frames = 100_000

  @Option(help: "Pairs of rounds, one with learning and one without.")
  var rounds = 80

  @Option(help: "text, or json for one object as the last line.")
  var format = BenchSleep.Format.text

  func validate() throws {
    guard frames > 0, rounds > 0 else {
      throw ValidationError("--frames and --rounds must be greater than 0")
    }
  }

  func run() async throws {
    let lab = try Lab.current()
    let answering = try await showingLogs { try await Self.measureAnswers(frames, in: lab) }
    let learning = try await showingLogs { try await Self.measureLearning(rounds, in: lab) }
    let result = BenchSentryResult(answering: answering, learning: learning)
    switch format {
    case .text: print(result.text)
    case .json: print(try json(result.figures))
    }
    for failure in result.failures { Report.line("FAILED: \(failure)") }
    if !result.failures.isEmpty { throw ExitCode(1) }
  }

  struct Answering: Sendable {
    var kinds: [(kind: EmulatedGuestHost.Request, answers: EmulatedGuestHost.Answers)] = []
    /// 1000 keepalives a second for ten seconds.
    let paced: EmulatedGuestHost.Answers
  }

  private static func measureAnswers(_ frames: Int, in lab: Lab) async throws -> Answering {
    Report.line("asking a sentry for 16 emulated guests (about 30 s)")
    let host = try await EmulatedGuestHost(capacity: 16, in: lab)
    try await host.grow(to: 16)
    try host.confineSentry(to: 0)
    var kinds: [(EmulatedGuestHost.Request, EmulatedGuestHost.Answers)] = []
    for kind in EmulatedGuestHost.Request.allCases {
      // Warm: code, caches, what the bridge knows.
      _ = try await host.ask(kind, 1_000, of: 0..<16, onProcessor: 1)
      kinds.append((kind, try await host.ask(kind, frames, of: 0..<16, onProcessor: 1)))
    }
    let paced = try await host.ask(
      .keepalive, 10_000, of: 0..<16, perSecond: 1_000, onProcessor: 1)
    try await host.remove()
    return Answering(kinds: kinds, paced: paced)
  }

  /// Of a real guest that is awake and busy.
  struct Learning: Sendable {
    struct Round: Sendable {
      /// Median round trip of 64 bytes, in seconds.
      let delay: Double
      /// Bytes per second, there and back.
      let rate: Double
    }

    /// Those with the same index were measured one after the other.
    var watched: [Round] = []
    var unwatched: [Round] = []
  }

  private static func measureLearning(_ rounds: Int, in lab: Lab) async throws -> Learning {
    Report.line("booting a guest and talking to it, with and without learning (about 2 minutes)")
    let network = try await lab.makeNetwork()
    let client = try await network.addClient()
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    let guest = try await Guest("busy", on: network, in: lab)
    try await daemon.create(guest)
    _ = try await daemon.client.start(guest.name)
    try await guest.waitUntilUp(from: client)
    guard let sentry = try await daemon.client.status().sentry.pid else {
      throw TestBedError(code: .malformed, message: "there is no sentry")
    }
    let learning = try LearningSwitch(ofSentry: sentry)
    let connection = try await EchoConnection(
      from: client, to: guest.addresses.ipv4, keepalive: nil)
    let message = (0..<64).map { _ in UInt8.random(in: 0...255) }
    let bulk = (0..<32_768).map { _ in UInt8.random(in: 0...255) }
    var result = Learning()
    for round in 0..<2 * rounds {
      // Which of a pair comes first changes: neither always has the better moment.
      let isWatched = (round % 2 == 0) == (round / 2 % 2 == 0)
      try learning.set(isWatched)
      var delays: [Double] = []
      for _ in 0..<40 {
        delays.append(try await connection.echo(message).inSeconds)
        // Slow enough for the sentry to look at all of it: it looks away from 2000 frames a second.
        try await Task.sleep(for: .milliseconds(4))
      }
      var seconds = 0.0
      for _ in 0..<4 { seconds += try await connection.echo(bulk).inSeconds }
      let measured = Learning.Round(
        delay: Quantiles(delays).p50, rate: Double(8 * bulk.count) / seconds)
      if isWatched { result.watched.append(measured) } else { result.unwatched.append(measured) }
    }
    try learning.set(true)
    await daemon.tearDown()
    return result
  }
}
