import API
import Client
import TestBed

/// Somebody who uses one guest at random.
struct SoakUser {
  private let guest: Guest
  private let client: LabClient
  private let daemon: LabDaemon
  private let journal: SoakJournal
  private var random: SeededGenerator
  private let patience: Duration
  /// Established once, for good.
  private let connections: [EchoConnection]
  private let pinger: Pinger

  init(
    _ guest: Guest, client: LabClient, daemon: LabDaemon, journal: SoakJournal,
    random: SeededGenerator, patience: Duration
  ) async throws {
    self.guest = guest
    self.client = client
    self.daemon = daemon
    self.journal = journal
    self.random = random
    self.patience = patience
    // Given up only after ten seconds without an answer: daemon and sentry are killed at the same time.
    let keepalive = Keepalive(idleSeconds: 1, intervalSeconds: 1, probes: 10)
    var connections: [EchoConnection] = []
    for address in guest.addresses.both {
      connections.append(
        try await EchoConnection(from: client, to: address, keepalive: keepalive))
    }
    self.connections = connections
    pinger = Pinger(from: client, to: guest.addresses.ipv4)
  }

  /// Does one thing and then leaves the guest alone for a while.
  mutating func act() async throws {
    switch Int.random(in: 0..<9, using: &random) {
    case 0, 1: await sendPayload()
    case 2: await openConnection()
    case 3: await sendDatagram()
    case 4, 5: await ping()
    case 6, 7: await order("order to sleep") { try await $0.sleep($1) }
    default: await order("order to wake") { try await $0.wake($1) }
    }
    try await Task.sleep(for: .milliseconds(Int.random(in: 100...7_000, using: &random)))
  }

  /// Whether what was established in the beginning still stands.
  func finish() async {
    for (index, connection) in connections.enumerated() {
      do {
        try await connection.echo([1, 2, 3], within: patience)
      } catch {
        await journal.violate("\(guest.name): connection \(index) is lost in the end: \(error)")
      }
    }
  }

  private mutating func sendPayload() async {
    let index = Int.random(in: connections.indices, using: &random)
    let length = Int.random(in: 1...4_000, using: &random)
    let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
    do {
      let delay = try await connections[index].echo(bytes, within: patience)
      await journal.note("payload echoed", delay: delay)
    } catch {
      await journal.violate("\(guest.name): payload on connection \(index): \(error)")
    }
  }

  private mutating func openConnection() async {
    let address = guest.addresses.both[Int.random(in: 0...1, using: &random)]
    do {
      let clock = ContinuousClock()
      let start = clock.now
      let connection = try await HTTPConnection(
        from: client, to: address, keepalive: nil, within: patience)
      let page = try await connection.get(within: patience)
      if page.status != 200 {
        await journal.violate("\(guest.name): nginx answers \(page.status)")
      }
      await journal.note("page fetched on a new connection", delay: clock.now - start)
    } catch {
      await journal.violate("\(guest.name): a new connection to \(address): \(error)")
    }
  }

  private mutating func sendDatagram() async {
    let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    do {
      let delay = try await client.echoDatagram(
        bytes, to: guest.addresses.ipv4, within: .seconds(5))
      // UDP may be lost, as when the sentry dies with it in its hands.
      if let delay {
        await journal.note("datagram echoed", delay: delay)
      } else {
        await journal.count("datagram lost")
      }
    } catch {
      await journal.violate("\(guest.name): a datagram: \(error)")
    }
  }

  private func ping() async {
    // One echo request may be lost; a guest that answers none for so long is gone.
    let clock = ContinuousClock()
    let start = clock.now
    while clock.now - start < patience {
      if let delay = try? await pinger.ping(within: .seconds(1)) {
        return await journal.note("ping answered", delay: delay)
      }
      await journal.count("ping lost")
    }
    await journal.violate("\(guest.name): no ping was answered for \(patience)")
  }

  private func order(
    _ what: String,
    _ order: (DormouseClient, String) async throws -> VirtualMachine
  ) async {
    do {
      _ = try await order(daemon.client, guest.name)
      await journal.count(what + ": done")
    } catch let error as APIError
      where [.refused, .conflict, .unavailable].contains(error.code)
    {
      // In use, in the middle of something, or the daemon was just killed.
      await journal.count(what + ": \(error.code.rawValue)")
    } catch {
      await journal.violate("\(guest.name): \(what): \(error)")
    }
  }
}
