import QEMU
import QMP
import Synchronization
import Testing

/// Reading a file of a guest whose agent says what it likes.
@Suite(.serialized, .timeLimit(.minutes(1))) struct GuestAgentFilesTests {
  /// An agent with one file, whose pieces are answered to `guest-file-read` one after the other.
  private final class Agent: Sendable {
    let pieces: [String]
    let asked = Mutex<[String]>([])

    init(_ pieces: [String]) { self.pieces = pieces }

    func answer(_ name: String, _ command: JSONValue) -> String {
      let reads = asked.withLock { asked in
        asked.append(name)
        return asked.count { $0 == "guest-file-read" }
      }
      switch name {
      case "guest-sync-delimited":
        return "{\"return\":\(command["arguments"]?["id"]?.integerValue ?? 0)}"
      case "guest-file-open": return "{\"return\":7}"
      case "guest-file-read":
        guard command["arguments"]?["handle"]?.integerValue == 7 else { return "{}" }
        return "{\"return\":\(pieces[min(reads, pieces.count) - 1])}"
      default: return "{\"return\":{}}"
      }
    }

    /// Reads the file as a client, up to 100 bytes.
    func read() async throws -> [UInt8] {
      let server = try await StubServer(answer: { line, channel in
        guard let command = try? JSONValue(parsing: line),
          let name = command["execute"]?.stringValue
        else { return }
        channel.send(self.answer(name, command))
      })
      let client = try await GuestAgentClient.connect(path: server.path)
      return try await client.readFile("/proc/net/tcp", limit: 100, deadline: .seconds(10))
    }
  }

  @Test func piecesAreJoinedAndTheFileIsClosed() async throws {
    let agent = Agent([
      #"{"count":3,"buf-b64":"YWJj","eof":false}"#, #"{"count":2,"buf-b64":"ZGU=","eof":true}"#,
    ])
    #expect(try await agent.read() == Array("abcde".utf8))
    #expect(agent.asked.withLock { $0.last } == "guest-file-close")
  }

  @Test(arguments: [
    // No end, no base64, nothing, too much.
    #"{"count":0,"buf-b64":"","eof":false}"#, #"{"count":3,"buf-b64":"YWJ","eof":true}"#, "{}",
    #"{"count":"#
      + #"3,"buf-b64":"YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj","eof":false}"#,
  ])
  func whatIsNoFileIsAnErrorAndTheFileIsClosed(piece: String) async throws {
    let agent = Agent([piece])
    let error = await #expect(throws: QMPError.self) { try await agent.read() }
    #expect(error?.code == .protocolViolation)
    #expect(agent.asked.withLock { $0.last } == "guest-file-close")
  }
}
