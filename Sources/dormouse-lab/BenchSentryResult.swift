import TestBed

/// What the sentry costs.
struct BenchSentryResult {
  let answering: BenchSentry.Answering
  let learning: BenchSentry.Learning

  /// All of the benchmark's figures. The first four are part of the interface of `make bench-sentry`.
  struct Figures: Encodable {
    /// Answered frames per second of the sentry's processor time, over all kinds.
    let framesPerSecondPerCore: Double
    let cpuPercentPerThousandKeepalives: Double
    /// Median round trip with learning by that without: of each pair of rounds, and of these the median.
    let learningDelayRatio: Double
    let learningThroughputRatio: Double
    /// Where the true medians of the ratios lie with a probability of 95 %.
    let learningDelayRatioInterval: [Double]
    let learningThroughputRatioInterval: [Double]
    let learningPairs: Int

    let framesSent: Int
    let framesAnswered: Int
    let kinds: [Kind]
    let roundTripP50Seconds: Double
    let roundTripUnwatchedP50Seconds: Double
    let bytesPerSecond: Double
    let bytesPerSecondUnwatched: Double
  }

  struct Kind: Encodable {
    let kind: String
    /// As the client saw it, on another processor.
    let framesPerSecond: Double
    let framesPerSecondPerCore: Double
    let microsecondsPerFrame: Double
  }

  private var kinds: [Kind] {
    answering.kinds.map { kind, answers in
      Kind(
        kind: kind.rawValue, framesPerSecond: Double(answers.answered) / answers.seconds,
        framesPerSecondPerCore: Double(answers.answered) / answers.sentrySeconds,
        microsecondsPerFrame: answers.sentrySeconds / Double(answers.answered) * 1e6)
    }
  }

  var figures: Figures {
    let all = answering.kinds.map(\.answers)
    let paced = answering.paced
    let thousands = Double(paced.answered) / paced.seconds / 1_000
    let pairs = zip(learning.watched, learning.unwatched)
    let delays = MedianRatio(pairs.map { $0.delay / $1.delay })
    let rates = MedianRatio(pairs.map { $0.rate / $1.rate })
    return Figures(
      framesPerSecondPerCore: Double(all.reduce(0) { $0 + $1.answered })
        / all.reduce(0) { $0 + $1.sentrySeconds },
      cpuPercentPerThousandKeepalives: paced.sentrySeconds / paced.seconds * 100 / thousands,
      learningDelayRatio: delays.median, learningThroughputRatio: rates.median,
      learningDelayRatioInterval: delays.interval,
      learningThroughputRatioInterval: rates.interval, learningPairs: learning.watched.count,
      framesSent: all.reduce(paced.sent) { $0 + $1.sent },
      framesAnswered: all.reduce(paced.answered) { $0 + $1.answered }, kinds: kinds,
      roundTripP50Seconds: Quantiles(learning.watched.map(\.delay)).p50,
      roundTripUnwatchedP50Seconds: Quantiles(learning.unwatched.map(\.delay)).p50,
      bytesPerSecond: Quantiles(learning.watched.map(\.rate)).p50,
      bytesPerSecondUnwatched: Quantiles(learning.unwatched.map(\.rate)).p50)
  }

  /// One sentence for each promise that does not hold.
  var failures: [String] {
    let figures = figures
    guard figures.framesAnswered < figures.framesSent else { return [] }
    let missing = figures.framesSent - figures.framesAnswered
    return ["\(missing) of \(figures.framesSent) frames were not answered"]
  }

  var text: String {
    let figures = figures
    let rows =
      [["answered", "frames per second", "per second of its time", "per frame"]]
      + figures.kinds.map {
        [
          $0.kind, decimal($0.framesPerSecond, 0), decimal($0.framesPerSecondPerCore, 0),
          "\(decimal($0.microsecondsPerFrame, 2)) us",
        ]
      }
    return """
      A real sentry on one processor; guests emulated, taps and frames real.

      \(table(rows).joined(separator: "\n"))

      1000 keepalives a second take \(decimal(figures.cpuPercentPerThousandKeepalives, 2)) % of a processor
      Frames answered      \(figures.framesAnswered) of \(figures.framesSent)

      A real guest that is awake, in \(figures.learningPairs) pairs of rounds with learning and without
      round trip           p50 \(milliseconds(figures.roundTripP50Seconds)), without \
      \(milliseconds(figures.roundTripUnwatchedP50Seconds)): \
      \(ratio(figures.learningDelayRatio, figures.learningDelayRatioInterval))
      throughput           \
      \(ratio(figures.learningThroughputRatio, figures.learningThroughputRatioInterval))
      """
  }

  private func ratio(_ median: Double, _ interval: [Double]) -> String {
    "ratio \(decimal(median, 3)) (95 %: \(interval.map { decimal($0, 3) }.joined(separator: " to ")))"
  }
}

/// The median of ratios that were measured side by side, and how well it is known.
private struct MedianRatio {
  let median: Double
  let interval: [Double]

  init(_ ratios: [Double]) {
    let sorted = ratios.sorted()
    median = Quantiles(ratios).p50
    // The ranks between which a median lies, by the normal approximation of the binomial distribution.
    let count = Double(sorted.count)
    let rank = min(max(Int((count - 1.96 * count.squareRoot()) / 2), 0), max(sorted.count - 1, 0))
    interval = sorted.isEmpty ? [] : [sorted[rank], sorted[sorted.count - 1 - rank]]
  }
}
