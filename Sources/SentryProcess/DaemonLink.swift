import FoundationEssentials
import LinuxSystem
import Seamless

/// The sentry's end of its conversation with the daemon.
final class DaemonLink {
  private let socket: SequencedPacketSocket

  struct Message {
    let request: SentryRequest
    /// Owned by whoever takes the message.
    let descriptors: [CInt]
  }

  init(_ socket: consuming SequencedPacketSocket) {
    self.socket = socket
  }

  var descriptor: CInt { socket.descriptor }

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
    guard case .guardMachine = request.body else {
      // What came with anything else closes here.
      return Message(request: request, descriptors: [])
    }
    return Message(request: request, descriptors: received.takeDescriptors())
  }

  func reply(_ id: UInt64, _ body: SentryReply.Body) {
    // A daemon that is gone or does not read loses the message; it asks for everything when it is back.
    guard let bytes = try? JSONEncoder().encode(SentryReply(id: id, body: body)) else { return }
    try? socket.send([UInt8](bytes), descriptors: [])
  }

  func notice(_ notice: SentryNotice) {
    reply(0, .notice(notice))
  }
}
