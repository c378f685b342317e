public import API
import Hummingbird
import HummingbirdCore
public import Logging
public import ServiceLifecycle
import Synchronization

/// Offers a ``HostService`` as HTTP and JSON on a Unix socket.
///
/// Who may ask is settled per connection by what the kernel says about the peer: root, the daemon's
/// own user, and the members of one group. On graceful shutdown no connection is accepted any more,
/// event streams end, requests under way are answered, and the socket is removed.
public struct WebServer: Service {
  /// The largest request body that is read, in bytes.
  public static let bodyLimit = 64 * 1024

  private let service: any HostService
  private let socketPath: String
  private let group: UInt32?
  private let heartbeat: Duration
  private let logger: Logger
  private let onReady: @Sendable () async -> Void

  /// A server that is not running yet.
  ///
  /// - Parameters:
  ///   - service: What is offered.
  ///   - socketPath: Where to listen: at most 107 bytes. Its directory must exist.
  ///   - group: The number of a group whose members may ask, too; it becomes the socket's group.
  ///   - heartbeat: How often an event stream that has nothing to say sends an empty line.
  ///   - logger: Where to say who was turned away.
  ///   - onReady: Called once the socket accepts connections.
  public init(
    service: any HostService, socketPath: String, group: UInt32? = nil,
    heartbeat: Duration = .seconds(10), logger: Logger,
    onReady: @escaping @Sendable () async -> Void = {}
  ) {
    self.service = service
    self.socketPath = socketPath
    self.group = group
    self.heartbeat = heartbeat
    self.logger = logger
    self.onReady = onReady
  }

  /// Serves until graceful shutdown. Throws ``WebError`` when the socket cannot be had, in particular
  /// when another daemon listens on it.
  public func run() async throws {
    let claim = try SocketClaim(path: socketPath)
    let (path, group, logger, onReady) = (socketPath, group, logger, onReady)
    let opening = Opening()
    let application = Application(
      router: Routes(service: service, heartbeat: heartbeat, group: group, logger: logger).router(),
      server: .http1(configuration: .init(idleTimeout: .seconds(60))),
      configuration: ApplicationConfiguration(
        address: .unixDomainSocket(path: path), serverName: "dormoused",
        availableConnectionsDelegate: MaximumAvailableConnections(256)),
      onServerRunning: { channel in
        // Between listen and the first accept.
        do throws(WebError) {
          try SocketClaim.settle(path: path, group: group)
          await onReady()
        } catch {
          opening.fail(error)
          channel.close(promise: nil)
        }
      },
      logger: logger)
    let result: Result<Void, any Error>
    do {
      result = .success(try await application.run())
    } catch {
      result = .failure(error)
    }
    claim.release()
    // The server only knows that its channel was closed; this is why.
    if let failure = opening.failure { throw failure }
    try result.get()
  }
}

/// What went wrong with the socket, told by the server's callback to the one who waits for the
/// server.
private final class Opening: Sendable {
  private let error = Mutex<WebError?>(nil)

  var failure: WebError? { error.withLock { $0 } }

  func fail(_ failure: WebError) {
    error.withLock { $0 = failure }
  }
}
