import Glibc
import LinuxSystem

/// A long-lived TCP connection of a client to the guest's echo service.
public final class EchoConnection: Sendable {
  private let stream: Stream

  /// Connects from a client to a numeric IPv4 or IPv6 address.
  public init(
    from client: LabClient, to address: String, port: UInt16 = 7777,
    keepalive: Keepalive? = Keepalive(), within deadline: Duration = .seconds(10)
  ) async throws {
    stream = try await client.connect(
      to: address, port: port, keepalive: keepalive, within: deadline)
  }

  /// Sends bytes, waits until all of them have come back, and compares.
  ///
  /// - Returns: the time from just before sending to the arrival of the last byte.
  /// - Throws: ``TestBedError/Code/malformed`` when something else came back.
  @discardableResult
  public func echo(_ bytes: [UInt8], within deadline: Duration = .seconds(10)) async throws
    -> Duration
  {
    let count = bytes.count
    let (answer, delay) = try await stream.exchange(bytes, within: deadline) {
      $0.count >= count ? count : nil
    }
    guard answer == bytes else {
      throw TestBedError(code: .malformed, message: "the echo differs from what was sent")
    }
    return delay
  }

  /// Sends bytes whose echo is of no interest.
  public func send(_ bytes: [UInt8], within deadline: Duration = .seconds(10)) async throws {
    _ = try await stream.exchange(bytes, within: deadline) { _ in 0 }
  }

  /// Waits for bytes that the other side sends unasked, and compares.
  ///
  /// - Throws: ``TestBedError/Code/malformed`` when something else came.
  public func expect(_ bytes: [UInt8], within deadline: Duration = .seconds(10)) async throws {
    let (answer, _) = try await stream.exchange([], within: deadline) {
      $0.count >= bytes.count ? bytes.count : nil
    }
    guard answer == bytes else {
      throw TestBedError(code: .malformed, message: "something else came than was expected")
    }
  }

  /// Says that nothing more will be sent (shutdown(2)), and goes on receiving.
  public func finishSending() throws { try stream.finishSending() }

  /// Waits until the other side has closed, too.
  ///
  /// - Throws: ``TestBedError/Code/deadline``; what the kernel says when the connection was lost instead.
  public func waitForEnd(within deadline: Duration) async throws {
    try await stream.waitForEnd(within: deadline)
  }

  /// Whether the connection stands, as far as the client's kernel knows.
  public func isOpen() async throws -> Bool { try await stream.isOpen() }
}

extension LabClient {
  func connect(
    to address: String, port: UInt16, keepalive: Keepalive?, within deadline: Duration
  ) async throws -> Stream {
    let socket = try await namespace.perform {
      try Sockets.connectTCP(to: address, port: port, keepalive: keepalive, within: deadline)
    }
    let peer = "\(address) port \(port)"
    return Stream(input: try socket.duplicate(), output: socket, peer: peer)
  }

  /// Whether something accepts connections there and says something or waits to be spoken to.
  public func canConnect(
    to address: String, port: UInt16, within deadline: Duration = .seconds(1)
  ) async throws -> Bool {
    do {
      try await namespace.perform {
        _ = try Sockets.connectTCP(to: address, port: port, keepalive: nil, within: deadline)
      }
      return true
    } catch is TestBedError {
      return false
    }
  }

  /// Sends one datagram and waits for one that has the same bytes.
  ///
  /// - Returns: the delay; nil when none came in time.
  public func echoDatagram(
    _ bytes: [UInt8], to address: String, port: UInt16 = 7777, within deadline: Duration
  ) async throws -> Duration? {
    try await namespace.perform {
      let socket = try Sockets.connectUDP(to: address, port: port)
      let clock = ContinuousClock()
      let start = clock.now
      try checked("send a datagram", send(socket.rawValue, bytes, bytes.count, 0))
      var buffer = [UInt8](repeating: 0, count: 65_536)
      while true {
        let left = deadline - (clock.now - start)
        guard left > .zero else { return nil }
        try Sockets.setReceiveTimeout(socket.rawValue, left)
        let count = recv(socket.rawValue, &buffer, buffer.count, 0)
        if count >= 0, buffer[..<count].elementsEqual(bytes) { return clock.now - start }
        // Refused by a guest whose service is not up yet: the datagram is lost, as the caller sees.
        if count < 0, errno == ECONNREFUSED { return nil }
      }
    }
  }
}
