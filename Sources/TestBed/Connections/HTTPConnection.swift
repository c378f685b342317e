import LinuxSystem

/// An HTTP/1.1 connection of a client that stays open between requests.
public final class HTTPConnection: Sendable {
  /// What the server answered.
  public struct Answer: Sendable {
    public let status: Int
    public let body: [UInt8]
    /// From just before the request was sent to the arrival of the answer's last byte.
    public let delay: Duration
  }

  private let stream: Stream
  private let address: String

  /// Connects from a client.
  ///
  /// - Parameters:
  ///   - address: numeric, IPv4 or IPv6.
  ///   - keepalive: TCP keepalives of this connection; nil for none.
  public init(
    from client: LabClient, to address: String, port: UInt16 = 80,
    keepalive: Keepalive? = Keepalive(), within deadline: Duration = .seconds(10)
  ) async throws {
    self.address = address
    stream = try await client.connect(
      to: address, port: port, keepalive: keepalive, within: deadline)
  }

  /// Asks for a path, and waits for the answer.
  ///
  /// - Throws: ``TestBedError/Code/deadline``, ``TestBedError/Code/connection``.
  public func get(_ path: String = "/", within deadline: Duration = .seconds(10)) async throws
    -> Answer
  {
    let host = address.contains(":") ? "[\(address)]" : address
    let request = "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: keep-alive\r\n\r\n"
    let (bytes, delay) = try await stream.exchange(
      Array(request.utf8), within: deadline, until: Self.end)
    guard let head = Self.head(bytes) else {
      throw TestBedError(code: .malformed, message: "no HTTP answer from \(address)")
    }
    return Answer(status: head.status, body: Array(bytes[head.length...]), delay: delay)
  }

  /// Whether the connection stands, as far as the client's kernel knows.
  public func isOpen() async throws -> Bool { try await stream.isOpen() }

  /// The length of the whole answer, once it is there.
  @Sendable private static func end(_ bytes: [UInt8]) -> Int? {
    guard let head = head(bytes), bytes.count >= head.length + head.bodyLength else { return nil }
    return head.length + head.bodyLength
  }

  private static func head(_ bytes: [UInt8]) -> (status: Int, length: Int, bodyLength: Int)? {
    let mark = Array("\r\n\r\n".utf8)
    guard let start = bytes.indices.first(where: { bytes[$0...].starts(with: mark) }) else {
      return nil
    }
    let lines = String(decoding: bytes[..<start], as: UTF8.self).split(separator: "\r\n")
    let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    var length: Int?
    for line in lines where line.lowercased().hasPrefix("content-length:") {
      length = Int(line.drop { $0 != ":" }.dropFirst().drop { $0 == " " })
    }
    return (status, start + mark.count, length ?? 0)
  }
}
