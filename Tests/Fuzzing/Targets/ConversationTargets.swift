import LinuxNetwork
import LinuxSystem
import QEMU
import QMP
import Synchronization

extension FuzzTarget {
  /// The real client of a monitor, over a real socket. Input: whether the machine greets as it should,
  /// then what it sends (instead, or as the answer to a command), a byte 2 standing for the command's id.
  static let monitor = FuzzTarget("monitor", maximumLength: 1024) { input in
    var reader = InputReader(input)
    let greets = reader.byte() & 1 != 0
    let text = reader.remainder()
    let conversation = try Conversation { socket in
      let client = try await QMPClient.adopt(socket, deadline: Conversation.deadline)
      defer { client.close() }
      _ = try await client.queryStatus(deadline: Conversation.deadline)
    }
    if greets {
      conversation.send(greeting)
      // qmp_capabilities and the command.
      let line = try conversation.line(2)
      guard let id = try JSONValue(parsing: line)["id"]?.integerValue else {
        throw FuzzFinding("a command without an id")
      }
      conversation.send(text.flatMap { $0 == 2 ? Array("\(id)".utf8) : [$0] })
    } else {
      conversation.send(text)
    }
    let outcome = conversation.end()
    try demand(
      outcome.map { [.closed, .protocolViolation, .command].contains($0.code) } ?? true,
      "a monitor's client ends with \(outcome.map { "\($0)" } ?? "")")
    // Without the id, or a greeting with version and all, no command can have succeeded.
    try demand(
      outcome != nil || text.contains(2) || !greets || text.contains(UInt8(ascii: "1")),
      "an answer that nobody gave is taken for one")
  }

  private static let greeting = Array(
    """
    {"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":10},"package":""},"capabilities":[]}}
    {"return":{},"id":0}

    """.utf8)

  /// The real client of a guest agent, over a real socket. Input: what the guest sends, a byte 1 standing
  /// for the mark of the synchronization and a byte 2 for the id.
  static let agent = FuzzTarget("agent", maximumLength: 1024) { input in
    let text = [UInt8](input)
    let conversation = try Conversation { socket in
      let client = try await GuestAgentClient.adopt(socket)
      defer { client.close() }
      _ = try await client.getTime(deadline: Conversation.deadline)
    }
    let request = try JSONValue(parsing: try conversation.line(1))
    guard let mark = request["arguments"]?["id"]?.integerValue, let id = request["id"]?.integerValue
    else { throw FuzzFinding("a synchronization without a mark") }
    conversation.send(
      text.flatMap { byte -> [UInt8] in
        switch byte {
        case 1: Array("\(mark)".utf8)
        case 2: Array("\(id)".utf8)
        default: [byte]
        }
      })
    let outcome = conversation.end()
    try demand(
      outcome.map { [.closed, .protocolViolation, .command].contains($0.code) } ?? true,
      "an agent's client ends with \(outcome.map { "\($0)" } ?? "")")
    try demand(outcome != nil || text.contains(1), "an agent out of step is believed")
  }

  /// A file that the real client reads in the guest, as a listing of sockets. Input: what the guest sends for
  /// each command, up to a byte 0 each, a byte 2 standing for the command's id.
  static let files = FuzzTarget("files", maximumLength: 2048) { input in
    let limit = 1024
    let file = Mutex<[UInt8]?>(nil)
    let conversation = try Conversation { socket in
      let client = try await GuestAgentClient.adopt(socket)
      defer { client.close() }
      let bytes = try await client.readFile(
        "/proc/net/tcp", limit: limit, deadline: Conversation.deadline)
      file.withLock { $0 = bytes }
    }
    let answers = [UInt8](input).split(separator: 0, omittingEmptySubsequences: false)
    for answer in answers.prefix(16) {
      guard let mark = try conversation.command()?["arguments"]?["id"]?.integerValue else { break }
      conversation.send(Array("{\"return\":\(mark)}\n".utf8))
      guard let id = try conversation.command()?["id"]?.integerValue else { break }
      conversation.send(answer.flatMap { $0 == 2 ? Array("\(id)".utf8) : [$0] } + [10])
      // A client that takes that for no answer would wait until its deadline; one that has its answer is out
      // of step with this one.
      conversation.send(Array("{\"error\":{\"class\":\"C\",\"desc\":\"d\"},\"id\":\(id)}\n".utf8))
    }
    let outcome = conversation.end()
    try demand(
      outcome.map { [.closed, .protocolViolation, .command].contains($0.code) } ?? true,
      "an agent's client ends with \(outcome.map { "\($0)" } ?? "")")
    let bytes = file.withLock { $0 }
    try demand((outcome == nil) == (bytes != nil), "a file and a failure, or neither")
    guard let bytes else { return }
    try demand(bytes.count <= limit, "a file that is too long")
    // Opened, read and closed.
    try demand(answers.count >= 2, "a file that nobody has sent")
    _ = try? SocketListing.ports(in: bytes)
  }
}
