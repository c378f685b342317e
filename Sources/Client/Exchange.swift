import API
import FoundationEssentials
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// One request and its answer, on a connection of its own.
struct Exchange: Sendable {
  /// The largest answer, and the longest line of a stream, that is read.
  private static let answerLimit = 16 << 20
  private static let lineLimit = 1 << 20

  let socketPath: String
  let method: HTTPMethod
  let uri: String
  let body: Data?

  private typealias Connection = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
  private typealias Inbound = NIOAsyncChannelInboundStream<HTTPClientResponsePart>

  /// The whole body of a successful answer. Throws the daemon's ``APIError`` otherwise.
  func answer() async throws -> Data {
    try await onConnection(silence: nil) { inbound in
      var parts = inbound.makeAsyncIterator()
      let head = try await Self.head(&parts)
      let data = try await rest(&parts)
      guard head.status.code < 400 else { throw Self.failure(head, data) }
      return data
    }
  }

  /// Hands each line of a successful answer on, without its end and without empty lines, until the
  /// answer ends. Throws ``APIError`` `.unavailable` when nothing at all comes for so long.
  func lines(silence: Duration, _ handle: @Sendable (Data) throws -> Void) async throws {
    try await onConnection(silence: silence) { inbound in
      var parts = inbound.makeAsyncIterator()
      let head = try await Self.head(&parts)
      guard head.status.code < 400 else { throw Self.failure(head, try await rest(&parts)) }
      var pending = ByteBuffer()
      while let buffer = try await next(&parts) {
        pending.writeImmutableBuffer(buffer)
        while let length = pending.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
          let line = pending.readBytes(length: length - pending.readerIndex) ?? []
          pending.moveReaderIndex(forwardBy: 1)
          if !line.isEmpty { try handle(Data(line)) }
        }
        pending.discardReadBytes()
        guard pending.readableBytes <= Self.lineLimit else { throw Self.tooLong }
      }
    }
  }

  // MARK: The connection

  private func onConnection<Value: Sendable>(
    silence: Duration?, _ body: (Inbound) async throws -> Value
  ) async throws -> Value {
    let connection = try await connect(silence: silence)
    do {
      return try await connection.executeThenClose { inbound, outbound in
        try await send(outbound)
        return try await body(inbound)
      }
    } catch let error as APIError {
      throw error
    } catch {
      try Task.checkCancellation()
      throw APIError(
        .unavailable, "the connection to the daemon at \(socketPath) was lost: \(error)")
    }
  }

  private func connect(silence: Duration?) async throws -> Connection {
    do {
      return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(.seconds(5))
        .connect(unixDomainSocketPath: socketPath) { channel in
          channel.eventLoop.makeCompletedFuture {
            if let silence {
              try channel.pipeline.syncOperations.addHandlers([
                IdleStateHandler(readTimeout: TimeAmount(silence)), SilenceHandler(),
              ])
            }
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            return try Connection(wrappingChannelSynchronously: channel)
          }
        }
    } catch let error as IOError where error.errnoCode == EACCES || error.errnoCode == EPERM {
      throw APIError(
        .forbidden, "the socket \(socketPath) may not be opened by this user",
        advice: "run this as root, or as a member of the socket's group")
    } catch let error as IOError
      where error.errnoCode == ENOENT || error.errnoCode == ECONNREFUSED
    {
      throw APIError(
        .unavailable, "no daemon listens on \(socketPath)",
        advice: "is dormoused running? --socket or DORMOUSE_SOCKET names another socket")
    } catch {
      throw APIError(.unavailable, "the daemon at \(socketPath) cannot be reached: \(error)")
    }
  }

  private func send(_ outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>) async throws {
    var headers: HTTPHeaders = ["Host": "dormouse", "Connection": "close"]
    if let body {
      headers.add(name: "Content-Type", value: "application/json")
      headers.add(name: "Content-Length", value: "\(body.count)")
    } else if method != .GET {
      headers.add(name: "Content-Length", value: "0")
    }
    var parts: [HTTPClientRequestPart] = [
      .head(HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: headers))
    ]
    if let body { parts.append(.body(.byteBuffer(ByteBuffer(bytes: body)))) }
    parts.append(.end(nil))
    // All at once: a request without a body is complete with its head, and the daemon may have
    // answered and closed before a second write.
    try await outbound.write(contentsOf: parts)
  }

  // MARK: The answer's parts

  private static func head(_ parts: inout Inbound.AsyncIterator) async throws -> HTTPResponseHead {
    guard case .head(let head) = try await parts.next() else { throw CutOff() }
    return head
  }

  /// The next piece of the body; nil at its end. An answer that stops before that is an error: half
  /// a list must not look like a short one.
  private func next(_ parts: inout Inbound.AsyncIterator) async throws -> ByteBuffer? {
    switch try await parts.next() {
    case .body(let buffer): return buffer
    case .end: return nil
    default: throw CutOff()
    }
  }

  private func rest(_ parts: inout Inbound.AsyncIterator) async throws -> Data {
    var data = Data()
    while let buffer = try await next(&parts) {
      data.append(contentsOf: buffer.readableBytesView)
      guard data.count <= Self.answerLimit else { throw Self.tooLong }
    }
    return data
  }

  private static func failure(_ head: HTTPResponseHead, _ data: Data) -> APIError {
    (try? APICoding.decoder().decode(APIError.self, from: data))
      ?? APIError(.internal, "the daemon answered \(head.status) without saying why")
  }

  private static let tooLong = APIError(.internal, "the daemon's answer is longer than it can be")
}

/// The answer ended before its end.
private struct CutOff: Error, CustomStringConvertible {
  var description: String { "it was closed in the middle of an answer" }
}

/// Nothing came for too long.
private struct Silence: Error, CustomStringConvertible {
  var description: String { "the daemon has fallen silent" }
}

/// Ends a connection on which nothing comes any more.
private final class SilenceHandler: ChannelInboundHandler {
  typealias InboundIn = NIOAny

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case IdleStateHandler.IdleStateEvent.read = event else {
      context.fireUserInboundEventTriggered(event)
      return
    }
    context.fireErrorCaught(Silence())
    context.close(promise: nil)
  }
}
