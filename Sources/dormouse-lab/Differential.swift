import ArgumentParser
import TestBed

struct Differential: AsyncParsableCommand {
  enum Format: String, ExpressibleByArgument {
    case text, json
  }

  static let configuration = CommandConfiguration(
    abstract: "Send the same frames to a guest asleep and awake, and compare the answers.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab differential

      Ends with a status other than 0 when an answer of the sentry's was not the guest's. A difference is \
      shown with its frame; --seed and --replay play that frame again.
      """)

  @Option(help: "How many frames.")
  var frames = 5_000

  @Option(help: "What the random choices begin with; 0 for something new each time.")
  var seed: UInt64 = 0

  @Option(help: "Frames to one sleep.")
  var framesPerSleep = 2_500

  @Option(help: "Send only the frame of this number, or those of FIRST-LAST.")
  var replay: FrameNumbers?

  @Option(help: "text, or json for one object as the last line.")
  var format = Format.text

  func validate() throws {
    guard frames > 0, framesPerSleep > 0, (replay?.range.upperBound ?? 0) < frames else {
      throw ValidationError("some frames are needed, and those to replay must be among them")
    }
  }

  func run() async throws {
    let seed = seed == 0 ? UInt64.random(in: 1...(.max)) : seed
    Report.line("\(frames) frames; --seed \(seed)")
    let result = try await showingLogs {
      let tester = try await DifferentialTester(in: try Lab.current())
      let result = try await tester.run(
        frames: frames, seed: seed, framesPerRound: framesPerSleep, only: replay?.range,
        report: { Report.line($0) })
      await tester.tearDown()
      return result
    }
    switch format {
    case .text: for line in lines(of: result) { print(line) }
    case .json:
      print(try json(DifferentialSummary(result)))
    }
    for difference in result.differences { Report.line("FAILED: \(difference)") }
    if !result.differences.isEmpty { throw ExitCode(1) }
  }

  private func lines(of result: DifferentialResult) -> [String] {
    let kinds = result.kinds.sorted { $0.key < $1.key }.map {
      [$0.key, "\($0.value.frames)", "\($0.value.answered)", "\($0.value.woken)"]
    }
    let summary = [
      ["frames", "\(result.frames)"], ["answered alike", "\(result.sameAnswer)"],
      ["answered by nobody", "\(result.bothSilent)"], ["left to the guest", "\(result.woken)"],
    ]
    return table([["", "frames", "answered", "wake"]] + kinds) + [""]
      + table(
        summary
          + result.silentByDesign.sorted { $0.key < $1.key }.map {
            ["silent by design: \($0.key)", "\($0.value)"]
          } + [
            ["wakes by a frame, answered", "\(result.wakesTried), \(result.wakesAnswered)"],
            ["differences", "\(result.differences.count)"],
            ["seconds", decimal(result.seconds, 1)],
          ])
  }
}

/// The result as a program reads it.
struct DifferentialSummary: Encodable {
  let seed: UInt64
  let frames: Int
  let sameAnswer: Int
  let bothSilent: Int
  let woken: Int
  let silentByDesign: [String: Int]
  let wakesTried: Int
  let wakesAnswered: Int
  let differences: [String]
  let seconds: Double

  init(_ result: DifferentialResult) {
    seed = result.seed
    frames = result.frames
    sameAnswer = result.sameAnswer
    bothSilent = result.bothSilent
    woken = result.woken
    silentByDesign = result.silentByDesign
    wakesTried = result.wakesTried
    wakesAnswered = result.wakesAnswered
    differences = result.differences.map(\.description)
    seconds = result.seconds
  }
}

/// A number, or the first and the last.
struct FrameNumbers: ExpressibleByArgument {
  let range: ClosedRange<Int>

  init?(argument: String) {
    let numbers = argument.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard (1...2).contains(numbers.count), let first = numbers[0],
      let last = numbers[numbers.count - 1],
      first >= 0, first <= last
    else { return nil }
    range = first...last
  }
}
