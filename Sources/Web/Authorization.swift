import API
import Glibc
import Hummingbird
import Logging
import NIOCore

/// The request's context: it keeps the connection, which knows its peer.
struct ConnectionContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let channel: any Channel

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }
}

/// Who called connect(2), as the kernel noted it then (`SO_PEERCRED`, socket(7); struct ucred of
/// unix(7)).
struct PeerCredentials: Sendable, Hashable {
  var pid: Int32
  var uid: UInt32
  var gid: UInt32
}

/// Lets root, the daemon's own user and the members of one group in, and nobody else.
struct Authorization: RouterMiddleware {
  /// The group whose members may come in; nil: no group's.
  let group: UInt32?
  let logger: Logger

  func handle(
    _ request: Request, context: ConnectionContext,
    next: (Request, ConnectionContext) async throws -> Response
  ) async throws -> Response {
    guard let connection = context.channel as? any SocketOptionProvider,
      let peer = try? await connection.peerCredentials().get()
    else {
      throw APIError(.forbidden, "the kernel does not say who is asking")
    }
    guard try await isAllowed(peer, connection) else {
      logger.notice(
        "turned away", metadata: ["uid": "\(peer.uid)", "gid": "\(peer.gid)", "pid": "\(peer.pid)"])
      throw APIError(
        .forbidden, "user \(peer.uid) (process \(peer.pid)) may not use this daemon",
        advice: group.map { "run it as root, or as a member of group \($0)" } ?? "run it as root")
    }
    return try await next(request, context)
  }

  private func isAllowed(_ peer: PeerCredentials, _ connection: any SocketOptionProvider)
    async throws -> Bool
  {
    if peer.uid == 0 || peer.uid == geteuid() { return true }
    guard let group else { return false }
    if peer.gid == group { return true }
    // Unused places read as 0, so whether somebody is a supplementary member of root's group cannot
    // be told; he is turned away. A peer with more groups than there is room for fails (ERANGE).
    guard group != 0, let groups = try? await connection.peerGroups().get() else { return false }
    return groups.indices.contains { groups[$0] == group }
  }
}

extension SocketOptionProvider {
  fileprivate func peerCredentials() -> EventLoopFuture<PeerCredentials> {
    unsafeGetSocketOption(level: .socket, name: .init(rawValue: SO_PEERCRED))
  }

  /// The supplementary groups of the peer when it connected (`SO_PEERGROUPS`, Linux 4.13). Unlike a
  /// look at `/proc/PID/status` this cannot meet another process that has got the same number.
  fileprivate func peerGroups() -> EventLoopFuture<InlineArray<1024, UInt32>> {
    unsafeGetSocketOption(level: .socket, name: .init(rawValue: SO_PEERGROUPS))
  }
}
