import API
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle

/// An answer without an end: events as newline-delimited JSON, with an empty line now and then, which
/// shows the reader that the daemon is there and the daemon that the reader is gone.
struct EventStream {
  static let headers: HTTPFields = [.contentType: "application/x-ndjson"]

  /// New events that may wait for a slow reader before he is cut off; he can come back and say where
  /// he was.
  private static let pendingLimit = 1024

  let service: any HostService
  let heartbeat: Duration
  let logger: Logger

  static func line(_ event: Event) throws -> ByteBuffer {
    var buffer = ByteBuffer(bytes: try APICoding.encoder().encode(event))
    buffer.writeInteger(UInt8(ascii: "\n"))
    return buffer
  }

  func response(after sequence: Int?) async throws -> Response {
    // What is past is sent as fast as the reader takes it; only what comes then is kept for him.
    let past = try await service.events(after: sequence, follow: false)
    return Response(
      status: .ok, headers: Self.headers,
      body: .init { writer in
        var last = sequence
        for try await event in past {
          try await writer.write(Self.line(event))
          last = event.sequence
        }
        try await follow(after: last, &writer)
        try await writer.finish(nil)
      })
  }

  private func follow(after sequence: Int?, _ writer: inout any ResponseBodyWriter) async throws {
    // The very first event may be still to come: nil would then mean the same, but 0 says it.
    let events = try await service.events(after: sequence ?? 0, follow: true)
    let (lines, pending) = AsyncThrowingStream<ByteBuffer, any Error>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.pendingLimit))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        do {
          for try await event in events {
            if case .dropped = pending.yield(try Self.line(event)) {
              logger.notice("cut off a reader of events who does not keep up")
              break
            }
          }
          pending.finish()
        } catch {
          pending.finish(throwing: error)
        }
      }
      group.addTask { [heartbeat] in
        while true {
          try await Task.sleep(for: heartbeat)
          pending.yield(ByteBuffer(string: "\n"))
        }
      }
      // The readers' tasks end with this one, whichever way it ends.
      defer { group.cancelAll() }
      try await withGracefulShutdownHandler {
        for try await line in lines { try await writer.write(line) }
      } onGracefulShutdown: {
        pending.finish()
      }
    }
  }
}
