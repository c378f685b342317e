import TestBed
import Testing

/// The segments of a connection that get lost: one between the SYN and the acknowledgement of the answer,
/// and perhaps one from the client's FIN on.
struct LossCase: Sendable, CustomTestStringConvertible {
  struct Loss: Sendable {
    let origin: Wire.End
    let choice: Wire.Choice
  }

  let opening: Loss
  let closing: Loss?
  /// 0 for IPv4, 1 for IPv6.
  let family: Int

  var testDescription: String {
    let losses = [opening, closing].compactMap(\.self).map { "\($0.choice) from the \($0.origin)" }
    return losses.joined(separator: ", ") + ", IPv\(family == 0 ? 4 : 6)"
  }

  /// The families take turns: what differs between them does not concern TCP. The guest may send its
  /// acknowledgement of a FIN with its own.
  static let all: [LossCase] = {
    let openings =
      (1...4).map { Loss(origin: .client, choice: .number($0)) }
      + (1...3).map { Loss(origin: .network, choice: .number($0)) }
    let closings = [
      Loss(origin: .client, choice: .number(1)), Loss(origin: .client, choice: .number(2)),
      Loss(origin: .network, choice: .number(1)), Loss(origin: .network, choice: .finish),
    ]
    return openings.enumerated().map {
      LossCase(
        opening: $0.element, closing: $0.offset < closings.count ? closings[$0.offset] : nil,
        family: $0.offset % 2)
    }
  }()
}

extension PresenceTests {
  @Test(
    "Whichever segment is lost, and however soon it sleeps then, nothing is lost",
    arguments: LossCase.all)
  func lostSegment(_ loss: LossCase) async throws {
    try await withOnlooker { onlooker in
      let client = onlooker.client
      let address = scene.guest.addresses.both[loss.family]
      onlooker.wire.lose(loss.opening.choice, from: loss.opening.origin)
      async let opened = Task {
        let echo = try await EchoConnection(from: client, to: address, within: Self.patience)
        try await echo.echo(Array("a request".utf8), within: Self.patience)
        return echo
      }.value
      try await onlooker.untilLost()
      // As soon as it may; what is under way may wake it again.
      try await scene.sleepAtOnce()
      let echo = try await opened

      let mark = try onlooker.watch.mark()
      try await onlooker.whileAsleep { try await onlooker.untilAnswered(after: mark) }
      try await onlooker.wakes { try await echo.echo(Array("more".utf8), within: Self.patience) }
      #expect(try await echo.isOpen())

      if let closing = loss.closing { onlooker.wire.lose(closing.choice, from: closing.origin) }
      try echo.finishSending()
      if loss.closing != nil {
        try await onlooker.untilLost()
        try await scene.sleepAtOnce()
      }
      try await echo.waitForEnd(within: Self.patience)
      if loss.closing != nil { try await noConnectionLeft(onlooker) }
    }
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
