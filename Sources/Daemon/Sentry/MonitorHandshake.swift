import Glibc
import LinuxSystem
import QMP

/// Opens a QMP connection for somebody else: greeting and capabilities are dealt with, and the sentry gets
/// a connection on which commands can be sent.
enum MonitorHandshake {
  /// Blocks for at most the deadline; to be called on a thread that may.
  static func negotiate(path: String, deadline: Duration) throws -> HeldFile {
    let connection = HeldFile(owning: try UnixListener.connect(path: path))
    let end = ContinuousClock.now + deadline
    var framer = QMPLineFramer()
    var asked = false
    while true {
      while let line = framer.nextLine() {
        switch try QMPMessage.parse(line: line) {
        case .greeting:
          let request = QMPCommand("qmp_capabilities", id: 0).encodedLine()
          guard
            send(connection.number, request, request.count, Int32(MSG_NOSIGNAL))
              == request.count
          else { throw failure("QEMU does not read") }
          asked = true
        case .reply(_, .success) where asked: return connection
        case .reply(_, .failure(let refusal)): throw failure("\(refusal)")
        case .reply, .event: continue
        }
      }
      let left = (end - .now) / .milliseconds(1)
      guard left > 0 else { throw failure("no answer in \(deadline)") }
      var wait = pollfd(fd: connection.number, events: Int16(POLLIN), revents: 0)
      poll(&wait, 1, Int32(left.rounded(.up)))
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(connection.number, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count == 0 { throw failure("QEMU closed the connection") }
      if count > 0 { try framer.append(buffer[0..<count]) }
    }
  }

  private static func failure(_ message: String) -> DaemonError {
    DaemonError(.startFailed, "the monitor for the sentry cannot be opened: \(message)")
  }
}
