import ArgumentParser
import TestBed

struct BenchDensity: AsyncParsableCommand {
  enum Format: String, ExpressibleByArgument {
    case text, json
  }

  static let configuration = CommandConfiguration(
    commandName: "bench-density",
    abstract: "Measure what many sleeping machines cost, and wake all of them at once.",
    discussion: """
      Needs the lab, with swap for all machines: \
      DORMOUSE_LAB_SWAP=24G scripts/lab.sh dormouse-lab bench-density

      The machines continue from one saved template, each on a bridge of its own with a client of its \
      own, which has two TCP connections with keepalives. They are put to sleep, woken in random order, \
      put to sleep again, and woken within one second. Ends with a status other than 0 when a connection \
      was lost or a frame dropped.
      """)

  @Option(help: "Machines of 512 MiB each, 1 to 200.")
  var machines = 64

  @Option(help: "Emulated guests behind one sentry, for a second part; 0 for none.")
  var emulated = 5_000

  @Option(help: "text, or json for one object as the last line.")
  var format = Format.text

  func validate() throws {
    guard (1...200).contains(machines) else {
      throw ValidationError("so many machines are not possible here")
    }
    guard emulated == 0 || (100...5_000).contains(emulated) else {
      throw ValidationError("--emulated must be 0, or from 100 to 5000")
    }
  }

  func run() async throws {
    let lab = try Lab.current()
    var result = try await showingLogs {
      try await DensityField(lab: lab, count: machines).measure()
    }
    if emulated > 0 {
      result.emulated = try await showingLogs { try await emulatedGuests(count: emulated, in: lab) }
    }
    switch format {
    case .text: print(result.text)
    case .json: print(try json(result.figures))
    }
    for failure in result.failures { Report.line("FAILED: \(failure)") }
    if !result.failures.isEmpty { throw ExitCode(1) }
  }
}
