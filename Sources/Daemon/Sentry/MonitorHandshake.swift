import Glibc
import LinuxSystem
import QEMU
import QMP

/// A conversation with a monitor on a thread that may block, for what the asynchronous client cannot do:
/// hand the connection on, and send descriptors.
struct MonitorDialogue {
  let connection: HeldFile
  private let path: String
  private let deadline: Duration
  private let end: ContinuousClock.Instant
  private var framer = QMPLineFramer()

  /// Connects and deals with greeting and capabilities.
  ///
  /// - Parameter deadline: for the whole conversation.
  init(path: String, deadline: Duration) throws {
    self.path = path
    self.deadline = deadline
    end = .now + deadline
    connection = HeldFile(owning: try UnixListener.connect(path: path))
    while true {
      guard case .greeting = try nextMessage() else { continue }
      break
    }
    _ = try execute("qmp_capabilities")
  }

  /// Executes a command and returns its result.
  mutating func execute(
    _ command: String, _ arguments: JSONValue? = nil, descriptors: [CInt] = []
  ) throws -> JSONValue {
    let request = QMPCommand(command, arguments: arguments, id: 0).encodedLine()
    guard
      try sendMessage(request, descriptors: descriptors, on: connection.number) == request.count
    else { throw failure("QEMU does not read") }
    while true {
      guard case .reply(_, let result) = try nextMessage() else { continue }
      switch result {
      case .success(let value): return value
      case .failure(let refusal): throw failure("\(refusal)")
      }
    }
  }

  private mutating func nextMessage() throws -> QMPMessage {
    while true {
      if let line = framer.nextLine() { return try QMPMessage.parse(line: line) }
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

  private func failure(_ message: String) -> DaemonError {
    DaemonError(.startFailed, "the monitor \(path) cannot be used: \(message)")
  }
}

/// Opens a QMP connection for somebody else: greeting and capabilities are dealt with, and the sentry gets
/// a connection on which commands can be sent.
enum MonitorHandshake {
  /// Blocks for at most the deadline; to be called on a thread that may.
  static func negotiate(path: String, deadline: Duration) throws -> HeldFile {
    try MonitorDialogue(path: path, deadline: deadline).connection
  }
}

/// Lets a QEMU that runs already write a file that it may not open.
enum StateFileGift {
  /// Gives QEMU a duplicate of the descriptor by a monitor that nobody else is connected to. Blocks for at
  /// most the deadline.
  ///
  /// - Returns: how QEMU calls it, until ``QMPClient/closeStateFiles()``.
  static func give(_ descriptor: CInt, byMonitorAt path: String, deadline: Duration) throws
    -> String
  {
    var dialogue = try MonitorDialogue(path: path, deadline: deadline)
    let answer = try dialogue.execute(
      "add-fd", ["opaque": .string(QMPClient.stateFileMark)], descriptors: [descriptor])
    guard let set = answer["fdset-id"]?.integerValue else {
      throw DaemonError(.startFailed, "QEMU does not say where it has put a descriptor")
    }
    return "/dev/fdset/\(set)"
  }
}
