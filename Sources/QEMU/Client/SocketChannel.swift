import LinuxSystem
import NIOCore
import NIOPosix

/// Getting from a socket's path to a NIO channel, for monitors and guest agents alike.
enum SocketChannel {
  /// Connects by path. Unix connections are made at once or not at all; only a full queue of waiting
  /// connections (QEMU serves one per socket) is worth waiting for.
  static func connect(
    path: String, until deadline: ContinuousClock.Instant
  ) async throws(QMPError) -> OwnedFileDescriptor {
    while true {
      do throws(LinuxError) {
        return try UnixListener.connect(path: path)
      } catch {
        guard error.code == .exhausted, .now < deadline else {
          throw QMPError(.connect, "cannot connect to \(path): \(error)", cause: error)
        }
      }
      do {
        try await Task.sleep(for: .milliseconds(20))
      } catch {
        throw QMPError(.cancelled, "connecting to \(path) was cancelled", cause: error)
      }
    }
  }

  /// Makes a channel of a connected socket, with one handler.
  ///
  /// - Parameter loop: the event loop that the handler is bound to.
  static func open<Handler: ChannelHandler>(
    _ socket: consuming OwnedFileDescriptor, on loop: any EventLoop, autoRead: Bool,
    handler: NIOLoopBound<Handler>
  ) async throws(QMPError) -> any Channel {
    do {
      // Whether NIO closes the descriptor when this fails depends on where it fails; it is given up in any
      // case, since its number may be somebody else's by then.
      return try await ClientBootstrap(group: loop)
        .channelOption(.autoRead, value: autoRead)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(handler.value)
          }
        }
        .withConnectedSocket(socket.release())
        .get()
    } catch {
      throw QMPError(.connect, "cannot use the socket: \(error)", cause: error)
    }
  }
}

extension NIODeadline {
  static func after(_ duration: Duration) -> NIODeadline {
    .now() + TimeAmount(duration)
  }
}

extension NIOLoopBound {
  /// Makes a value on the event loop that it is to stay on.
  static func make(
    on loop: any EventLoop, _ value: @escaping @Sendable () -> Value
  ) async -> NIOLoopBound<Value> {
    await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: NIOLoopBound(value(), eventLoop: loop)) }
    }
  }
}
