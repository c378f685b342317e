import API
import TestBed

/// One machine of the density test, with its client and their connections.
struct DensityPlot: Sendable {
  let guest: Guest
  let island: LabIsland
  let echo: EchoConnection
  let web: HTTPConnection

  /// Far above what a wake takes while 63 others wake too.
  static let patience = Duration.seconds(60)
  /// Often enough to see a sentry that does not answer, and seldom enough to be real.
  private static let keepalive = Keepalive(idleSeconds: 5, intervalSeconds: 5, probes: 5)

  /// Makes a machine that continues from the template, and connects to it.
  init(
    _ name: String, like original: Guest, template: String, on network: LabNetwork,
    _ daemon: LabDaemon, in lab: Lab
  ) async throws {
    guest = try await Guest(name, like: original, in: lab)
    island = try await network.addIsland()
    try await daemon.create(guest, from: template, on: island)
    _ = try await daemon.client.start(name)
    echo = try await EchoConnection(
      from: island.client, to: guest.addresses.ipv4, keepalive: Self.keepalive,
      within: Self.patience)
    web = try await HTTPConnection(
      from: island.client, to: guest.addresses.ipv6, keepalive: Self.keepalive,
      within: Self.patience)
    try await echo.echo(Self.message(), within: Self.patience)
    _ = try await fetch()
  }

  /// Puts the machine to sleep once its connections have been quiet for long enough.
  func sleep(_ daemon: LabDaemon) async throws -> VirtualMachine {
    try await daemon.sleepWhenQuiet(
      guest.name, within: .seconds(120), every: .milliseconds(250))
  }

  /// Sends on the echo connection and waits for all of it to come back; nil when the connection is lost.
  func use() async -> Duration? {
    do {
      return try await echo.echo(Self.message(), within: Self.patience)
    } catch {
      Report.line("\(guest.name): its echo connection is lost: \(error)")
      return nil
    }
  }

  /// Whether the web server still answers on its connection.
  func fetches() async -> Bool {
    do {
      return try await fetch() == 200
    } catch {
      Report.line("\(guest.name): its web connection is lost: \(error)")
      return false
    }
  }

  private func fetch() async throws -> Int { try await web.get(within: Self.patience).status }

  private static func message() -> [UInt8] { (0..<64).map { _ in .random(in: 0...255) } }
}
