import TestBed
import Testing

/// A segment of a connection that gets lost.
struct LossCase: Sendable, CustomTestStringConvertible {
  enum Part: String, Sendable {
    /// From the SYN to the acknowledgement of the answer.
    case exchange
    /// From the client's FIN on.
    case closing
  }

  let part: Part
  let origin: Wire.End
  let choice: Wire.Choice
  /// 0 for IPv4, 1 for IPv6.
  let family: Int

  var testDescription: String {
    "\(part.rawValue): \(choice) from the \(origin), IPv\(family == 0 ? 4 : 6)"
  }

  /// The families take turns: what differs between them does not concern TCP. The guest may send its
  /// acknowledgement of a FIN with its own.
  static let all: [LossCase] = [
    (.exchange, .client, (1...4).map { .number($0) }),
    (.exchange, .network, (1...3).map { .number($0) }),
    (.closing, .client, [.number(1), .number(2)]),
    (.closing, .network, [.number(1), .finish]),
  ].flatMap { (part: Part, origin: Wire.End, choices: [Wire.Choice]) in
    choices.enumerated().map {
      LossCase(part: part, origin: origin, choice: $0.element, family: $0.offset % 2)
    }
  }
}

extension PresenceTests {
  @Test(
    "Whichever segment is lost, and however soon it sleeps then, nothing is lost",
    arguments: LossCase.all)
  func lostSegment(_ loss: LossCase) async throws {
    try await withOnlooker { onlooker in
      switch loss.part {
      case .exchange: try await loseInExchange(loss, onlooker)
      case .closing: try await loseInClosing(loss, onlooker)
      }
    }
  }

  private func loseInExchange(_ loss: LossCase, _ onlooker: Onlooker) async throws {
    let client = onlooker.client
    let address = scene.guest.addresses.both[loss.family]
    onlooker.wire.lose(loss.choice, from: loss.origin)
    async let opened = Task {
      let echo = try await EchoConnection(from: client, to: address, within: Self.patience)
      try await echo.echo(Array("a request".utf8), within: Self.patience)
      return echo
    }.value
    try await onlooker.untilLost()
    // As soon as it may; what is under way may wake it again.
    try await scene.sleepAtOnce()
    let echo = try await opened

    try await onlooker.whileAsleep { try await Task.sleep(for: .milliseconds(1_200)) }
    try await onlooker.wakes { try await echo.echo(Array("more".utf8), within: Self.patience) }
    #expect(try await echo.isOpen())
    try echo.finishSending()
    try await echo.waitForEnd(within: Self.patience)
  }

  private func loseInClosing(_ loss: LossCase, _ onlooker: Onlooker) async throws {
    let echo = try await EchoConnection(
      from: onlooker.client, to: scene.guest.addresses.both[loss.family], keepalive: nil)
    try await echo.echo(Array("a request".utf8))
    onlooker.wire.lose(loss.choice, from: loss.origin)
    try echo.finishSending()
    try await onlooker.untilLost()
    try await scene.sleepAtOnce()
    try await echo.waitForEnd(within: Self.patience)
    try await noConnectionLeft(onlooker)
  }

  /// Neither side has anything left of the connections to a port, but for the wait of the one that closed
  /// first (RFC 9293, 3.6.1).
  func noConnectionLeft(_ onlooker: Onlooker, port: UInt16 = 7777) async throws {
    let query = "ss -Htan '( sport = :\(port) or dport = :\(port) )'"
    try await eventually("both sides to forget the connection", within: Self.patience) {
      let sides = [
        try await onlooker.client.namespace.run("sh", "-c", query),
        try await scene.guest.run(query, from: scene.client),
      ]
      let left = sides.joined(separator: "\n").split(separator: "\n").filter {
        !$0.hasPrefix("LISTEN") && !$0.hasPrefix("TIME-WAIT")
      }
      return left.isEmpty ? () : nil
    }
  }
}
