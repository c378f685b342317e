import Dispatch
import Glibc
import LinuxSystem
import QEMU
import QMP
import Synchronization

/// A client with its peer, which is the calling thread.
///
/// The client runs as a task; the thread waits for it, so it must be none of the cooperative pool.
final class Conversation: Sendable {
  /// Passes only if a client waits for what cannot come any more.
  static let deadline = Duration.seconds(20)

  private let socket: OwnedFileDescriptor
  private let outcome = Mutex<(any Error)?>(nil)
  private let ended = DispatchSemaphore(value: 0)

  /// - Parameter client: talks over the socket that it is given, which it owns.
  init(_ client: @escaping @Sendable (consuming OwnedFileDescriptor) async throws -> Void) throws {
    var ends: [CInt] = [-1, -1]
    try checked(
      "make a pair of sockets",
      socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends))
    socket = OwnedFileDescriptor(owning: ends[0])
    let theirs = ends[1]
    Task { [self] in
      do {
        try await client(OwnedFileDescriptor(owning: theirs))
      } catch {
        outcome.withLock { $0 = error }
      }
      ended.signal()
    }
  }

  /// Sends as much as the client takes before it closes.
  func send(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(socket.rawValue, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return }
      rest = rest.dropFirst(sent)
    }
  }

  /// Reads as many lines and returns the last of them, without a mark of 0xFF in front.
  func line(_ count: Int) throws -> [UInt8] {
    var lines = 0
    var line: [UInt8] = []
    while lines < count {
      var byte: UInt8 = 0
      guard recv(socket.rawValue, &byte, 1, 0) == 1 else {
        throw FuzzFinding("a client that says nothing")
      }
      if byte == UInt8(ascii: "\n") {
        lines += 1
        if lines == count { return line }
        line = []
      } else if byte != 0xFF {
        line.append(byte)
      }
    }
    return line
  }

  /// The next command; nil if the client has closed, or the line is none.
  func command() throws -> JSONValue? {
    (try? line(1)).flatMap { try? JSONValue(parsing: $0) }
  }

  /// Sends no more, and waits for the client.
  /// - Returns: what it failed with.
  func end() -> QMPError? {
    shutdown(socket.rawValue, CInt(SHUT_WR))
    ended.wait()
    // The client has closed when this ends, so that descriptors do not heap up.
    var buffer = [UInt8](repeating: 0, count: 4096)
    while recv(socket.rawValue, &buffer, buffer.count, 0) > 0 {}
    return outcome.withLock { error in
      error.map { $0 as? QMPError ?? QMPError(.busy, "\($0)") }
    }
  }
}
