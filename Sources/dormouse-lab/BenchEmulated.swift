import ArgumentParser
import TestBed

struct BenchEmulated: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-emulated",
    abstract: "Measure a real sentry with thousands of emulated guests asleep behind it.",
    discussion: """
      Needs the lab: scripts/lab.sh dormouse-lab bench-emulated

      Each guest has two real taps, the real filters of a detour, a place at a bridge and connections. \
      Emulated are QEMU, the guest in it, and the daemon. Bridged frames are kept from iptables (see Limits in \
      docs/operating.md). Ends with a status other than 0 when a frame was lost, or a guest takes more than \
      16 KiB or 3 descriptors of the sentry.
      """)

  @Option(help: "Guests; each takes two interfaces, and two descriptors here.")
  var guests = 5_000

  @Option(help: "text, or json for one object as the last line.")
  var format = BenchSleep.Format.text

  func validate() throws {
    guard (100...5_000).contains(guests) else {
      throw ValidationError("--guests must be from 100 to 5000")
    }
  }

  func run() async throws {
    let lab = try Lab.current()
    let result = try await showingLogs { try await emulatedGuests(count: guests, in: lab) }
    switch format {
    case .text: print(result.text)
    case .json:
      print(try json(result))
    }
    for failure in result.failures { Report.line("FAILED: \(failure)") }
    if !result.failures.isEmpty { throw ExitCode(1) }
  }
}
