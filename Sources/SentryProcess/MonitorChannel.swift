import Glibc
import LinuxSystem
import QMP

/// The sentry's own QMP monitor of one VM: enough of the protocol to continue it.
///
/// The daemon has negotiated capabilities before it handed the connection over.
struct MonitorChannel: ~Copyable {
  let descriptor: OwnedFileDescriptor
  private var framer = QMPLineFramer()
  private var nextID: UInt64 = 1

  enum Failure: Error {
    /// QEMU has closed the connection.
    case closed
    /// QEMU does not read, or sends what is not QMP.
    case broken(String)
  }

  init(adopting descriptor: consuming OwnedFileDescriptor) {
    self.descriptor = descriptor
  }

  /// Sends a command without waiting; returns its id.
  mutating func send(_ command: String) throws(Failure) -> UInt64 {
    let id = nextID
    nextID += 1
    let line = QMPCommand(command, id: id).encodedLine()
    let sent = Glibc.send(
      descriptor.rawValue, line, line.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    if sent == line.count { return id }
    if sent < 0, errno == EPIPE || errno == ECONNRESET { throw .closed }
    // A socket buffer too full for fifty bytes: QEMU has not read for a long time.
    throw .broken("QEMU does not read its monitor")
  }

  /// Reads what has come into a buffer of the caller's, and returns the whole messages in it.
  mutating func receive(using buffer: inout [UInt8]) throws(Failure) -> [QMPMessage] {
    let count = buffer.withUnsafeMutableBytes {
      recv(descriptor.rawValue, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
    }
    if count == 0 { throw .closed }
    if count < 0 {
      if errno == EAGAIN || errno == EINTR { return [] }
      throw .closed
    }
    do {
      try framer.append(buffer[0..<count])
      var messages: [QMPMessage] = []
      while let line = framer.nextLine() { messages.append(try QMPMessage.parse(line: line)) }
      return messages
    } catch {
      throw .broken("\(error)")
    }
  }
}
