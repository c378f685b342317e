import API
import FoundationEssentials
import Hummingbird
import Logging
import NIOCore

/// Turns whatever goes wrong below it into an ``APIError`` as JSON.
struct ErrorResponses: RouterMiddleware {
  let logger: Logger

  func handle(
    _ request: Request, context: ConnectionContext,
    next: (Request, ConnectionContext) async throws -> Response
  ) async throws -> Response {
    do {
      return try await next(request, context)
    } catch let error as APIError {
      return try .json(error, status: .init(code: error.httpStatus))
    } catch is NIOTooManyBytesError {
      return try .json(
        APIError(.invalid, "the request's body is larger than \(WebServer.bodyLimit) bytes"),
        status: .contentTooLarge)
    } catch let error as any HTTPResponseError {
      // What the router itself says: there is no such path, or it does not know the method.
      let message = "\(request.method.rawValue) \(request.uri.path) is not part of this API"
      return try .json(
        APIError(error.status == .notFound ? .notFound : .invalid, message), status: error.status)
    } catch is CancellationError {
      return try .json(
        APIError(.unavailable, "the daemon is stopping"), status: .serviceUnavailable)
    } catch {
      logger.error(
        "request failed",
        metadata: [
          "method": "\(request.method.rawValue)", "path": "\(request.uri.path)",
          "error": "\(error)",
        ])
      return try .json(APIError(.internal, "\(error)"), status: .internalServerError)
    }
  }
}

extension Response {
  /// A value as JSON.
  static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"],
      body: .init(byteBuffer: ByteBuffer(bytes: try APICoding.encoder().encode(value))))
  }
}

extension Request {
  /// The body, read as JSON. Throws ``APIError`` `.invalid` that says what is wrong and where.
  func json<Value: Decodable>(_ type: Value.Type) async throws -> Value {
    let buffer = try await body.collect(upTo: WebServer.bodyLimit)
    do {
      return try APICoding.decoder().decode(type, from: Data(buffer.readableBytesView))
    } catch let error as DecodingError {
      throw APIError(.invalid, "the request's body is not what is expected here: \(error.told)")
    }
  }

  /// A query parameter; nil when it is not there, and an error when it is there but makes no sense.
  func query<Value>(_ key: String, _ read: (String) -> Value?) throws(APIError) -> Value? {
    guard let text = uri.queryParameters[key[...]].map(String.init) else { return nil }
    guard let value = read(text) else {
      throw APIError(.invalid, "the query parameter \(key) cannot be \"\(text)\"")
    }
    return value
  }
}

extension DecodingError {
  /// What was wrong and where, without the words of the decoder's types.
  fileprivate var told: String {
    switch self {
    case .keyNotFound(let key, _): "\(key.stringValue) is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context),
      .dataCorrupted(let context):
      context.codingPath.isEmpty
        ? context.debugDescription
        : context.codingPath.map(\.stringValue).joined(separator: ".") + ": "
          + context.debugDescription
    @unknown default: "\(self)"
    }
  }
}
