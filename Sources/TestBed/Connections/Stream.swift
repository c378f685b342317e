import Glibc
import LinuxSystem
import Synchronization

/// A byte stream to a peer: a connected socket, or the two pipes of a program. Every operation is bounded
/// in time and runs on a thread of its own, so that what it measures is the peer and not this process.
final class Stream: Sendable {
  private let output: OwnedFileDescriptor
  private let input: OwnedFileDescriptor
  private let peer: String
  /// Received and not asked for yet.
  private let pending = Mutex<[UInt8]>([])

  /// - Parameter peer: what is at the other end, for messages.
  init(
    input: consuming OwnedFileDescriptor, output: consuming OwnedFileDescriptor, peer: String
  ) {
    self.input = input
    self.output = output
    self.peer = peer
    // A peer that has gone is an error to report, not the end of this process.
    signal(SIGPIPE, SIG_IGN)
  }

  /// Sends bytes and waits for an answer.
  ///
  /// - Parameters:
  ///   - message: what is sent; may be empty.
  ///   - end: finds the end of the answer in what was received; nil asks for more.
  /// - Returns: the answer up to its end, and the time from just before sending to its arrival.
  /// - Throws: ``TestBedError/Code/deadline``, ``TestBedError/Code/connection`` when it was lost.
  func exchange(
    _ message: [UInt8], within deadline: Duration,
    until end: @escaping @Sendable ([UInt8]) -> Int?
  ) async throws -> (answer: [UInt8], delay: Duration) {
    try await onBlockingThread("stream") { [self] in
      let clock = ContinuousClock()
      let start = clock.now
      try send(message)
      while true {
        let answer = pending.withLock { pending -> [UInt8]? in
          guard let length = end(pending) else { return nil }
          defer { pending.removeFirst(length) }
          return Array(pending.prefix(length))
        }
        if let answer { return (answer, clock.now - start) }
        let left = deadline - (clock.now - start)
        guard left > .zero, try waitReadable(left) else {
          throw TestBedError(
            code: .deadline,
            message: "no answer from \(peer) within \(deadline); received so far: \(received)")
        }
        try receive()
      }
    }
  }

  /// Whether the connection stands, as far as the kernel knows: no end, no error. What was received in
  /// the meantime is kept.
  func isOpen() async throws -> Bool {
    try await onBlockingThread("stream") { [self] in
      while try waitReadable(.zero) {
        do {
          try receive()
        } catch is TestBedError {
          return false
        }
      }
      return true
    }
  }

  /// Ends the sending direction of a socket.
  func finishSending() throws {
    try checked("end the sending to \(peer)", shutdown(output.rawValue, CInt(SHUT_WR)))
  }

  /// Waits for the end of what the peer sends, which must not be an error. What comes before it is
  /// dropped.
  func waitForEnd(within deadline: Duration) async throws {
    try await onBlockingThread("stream") { [self] in
      let clock = ContinuousClock()
      let end = clock.now + deadline
      var buffer = [UInt8](repeating: 0, count: 4_096)
      while true {
        guard clock.now < end, try waitReadable(end - clock.now) else {
          throw TestBedError(
            code: .deadline, message: "\(peer) did not close within \(deadline)")
        }
        let count = read(input.rawValue, &buffer, buffer.count)
        if count == 0 { return }
        if count < 0, errno != EINTR { throw lost("the connection to \(peer) is lost") }
      }
    }
  }

  private var received: String {
    pending.withLock { String(decoding: $0.suffix(400), as: UTF8.self).debugDescription }
  }

  private func send(_ message: [UInt8]) throws {
    var sent = 0
    while sent < message.count {
      let count = message[sent...].withUnsafeBytes { bytes in
        write(output.rawValue, bytes.baseAddress, bytes.count)
      }
      if count > 0 {
        sent += count
      } else if errno != EINTR {
        throw lost("cannot send to \(peer)")
      }
    }
  }

  private func waitReadable(_ timeout: Duration) throws -> Bool {
    var request = pollfd(fd: input.rawValue, events: Int16(POLLIN), revents: 0)
    let (seconds, attoseconds) = timeout.components
    // Rounded up, so that the last wait is not a busy one.
    let milliseconds = seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    let count = poll(&request, 1, timeout == .zero ? 0 : Int32(clamping: milliseconds + 1))
    if count < 0, errno != EINTR { throw lost("cannot wait for \(peer)") }
    return count > 0
  }

  private func receive() throws {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = read(input.rawValue, &buffer, buffer.count)
    if count > 0 {
      pending.withLock { $0.append(contentsOf: buffer[..<count]) }
    } else if count == 0 {
      throw TestBedError(
        code: .connection, message: "\(peer) closed the connection; received: \(received)")
    } else if errno != EINTR {
      throw lost("the connection to \(peer) is lost")
    }
  }

  private func lost(_ message: String) -> TestBedError {
    let reason = String(cString: strerror(errno))
    return TestBedError(code: .connection, message: "\(message): \(reason)")
  }
}
