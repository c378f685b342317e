import FoundationEssentials
import LinuxSystem
import Seamless

/// The sentry's end of its conversation with the daemon.
///
/// What the daemon does not read at once waits here, up to a bound. Beyond that the connection is given up:
/// the daemon asks for everything when it is back, whereas a single notice that got lost would leave it with
/// a false picture.
package final class DaemonLink {
  /// Messages for the daemon that may wait, in bytes: what 50,000 wakes have to say.
  package static let maximumBacklog = 32 << 20

  private let socket: SequencedPacketSocket
  private var backlog: [[UInt8]] = []
  /// The first of the backlog that was not sent yet.
  private var next = 0
  private var backlogBytes = 0
  /// Whether the daemon fell too far behind, or is gone.
  package private(set) var isBroken = false

  struct Message {
    let request: SentryRequest
    /// Owned by whoever takes the message.
    let descriptors: [CInt]
  }

  package init(_ socket: consuming SequencedPacketSocket) {
    self.socket = socket
  }

  var descriptor: CInt { socket.descriptor }

  /// Whether something waits for room in the socket.
  package var hasBacklog: Bool { next < backlog.count }

  /// The next message, nil when none waits.
  ///
  /// - Throws: when the daemon is gone or does not speak the protocol.
  func receive() throws -> Message? {
    guard
      var received = try socket.receive(
        maximumBytes: SentryProtocol.maximumMessageBytes,
        maximumDescriptors: SentryProtocol.descriptorsPerMachine)
    else { return nil }
    guard !received.endOfStream else {
      throw LinuxError(code: .gone, message: "the daemon has closed the connection")
    }
    let request = try JSONDecoder().decode(SentryRequest.self, from: Data(received.bytes))
    switch request.body {
    case .guardMachine, .hello:
      return Message(request: request, descriptors: received.takeDescriptors())
    default:
      // What came with anything else closes here.
      return Message(request: request, descriptors: [])
    }
  }

  package func reply(_ id: UInt64, _ body: SentryReply.Body, more: Bool = false) {
    guard let bytes = encode(id, body, more: more) else { return }
    send(bytes)
  }

  /// Answers with a list in as many messages as it takes.
  package func reply<Item>(
    _ id: UInt64, _ items: ArraySlice<Item>, more: Bool = false,
    _ body: ([Item]) -> SentryReply.Body
  ) {
    guard let bytes = encode(id, body(Array(items)), more: more) else { return }
    guard bytes.count > SentryProtocol.maximumMessageBytes, items.count > 1 else {
      return send(bytes)
    }
    let middle = items.startIndex + items.count / 2
    reply(id, items[..<middle], more: true, body)
    reply(id, items[middle...], more: more, body)
  }

  package func notice(_ notice: SentryNotice) {
    reply(0, .notice(notice))
  }

  /// Sends what has waited, as far as there is room.
  package func flush() {
    while hasBacklog, transmit(backlog[next]) {
      backlogBytes -= backlog[next].count
      backlog[next] = []
      next += 1
    }
    if !hasBacklog {
      backlog.removeAll()
      next = 0
    }
  }

  private func encode(_ id: UInt64, _ body: SentryReply.Body, more: Bool) -> [UInt8]? {
    (try? JSONEncoder().encode(SentryReply(id: id, body: body, more: more))).map { [UInt8]($0) }
  }

  private func send(_ bytes: [UInt8]) {
    guard !isBroken else { return }
    if !hasBacklog, transmit(bytes) { return }
    guard !isBroken, backlogBytes + bytes.count <= Self.maximumBacklog else {
      isBroken = true
      return
    }
    backlog.append(bytes)
    backlogBytes += bytes.count
  }

  /// Returns whether the message is on its way; if not, there is no room, or nobody who reads.
  private func transmit(_ bytes: [UInt8]) -> Bool {
    do throws(LinuxError) {
      try socket.send(bytes)
      return true
    } catch {
      if error.code != .exhausted { isBroken = true }
      return false
    }
  }
}
