public import LinuxSystem
public import NIOCore
public import NIOPosix
public import QMP
import Synchronization

/// A conversation with qemu-ga in a guest, through the socket of its virtio-serial channel.
///
/// The agent is part of the guest: it may be absent, silent, or lie. Every call has a deadline and reads
/// a bounded number of bytes; commands are executed one after the other, each after a synchronization,
/// so that answers to earlier commands are never taken for later ones. QEMU serves one connection to the
/// channel at a time: close it after use. Dropping the last reference closes it too.
public final class GuestAgentClient: Sendable {
  private let channel: any Channel
  private let handler: NIOLoopBound<AgentHandler>
  private let lastID = Atomic<UInt64>(0)

  /// Connects to the channel's socket. This says nothing of the agent yet: QEMU accepts.
  ///
  /// - Throws: ``QMPError/Code/connect``, ``QMPError/Code/cancelled``.
  public static func connect(
    path: String, on group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> GuestAgentClient {
    let socket = try await SocketChannel.connect(path: path, until: .now + deadline)
    return try await adopt(socket, on: group)
  }

  /// Takes a connected socket.
  ///
  /// - Throws: ``QMPError/Code/connect``.
  public static func adopt(
    _ socket: consuming OwnedFileDescriptor,
    on group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  ) async throws(QMPError) -> GuestAgentClient {
    let loop = group.next()
    let handler = await NIOLoopBound.make(on: loop) { AgentHandler() }
    let channel = try await SocketChannel.open(socket, on: loop, autoRead: false, handler: handler)
    return GuestAgentClient(channel: channel, handler: handler)
  }

  private init(channel: any Channel, handler: NIOLoopBound<AgentHandler>) {
    self.channel = channel
    self.handler = handler
  }

  deinit {
    channel.close(promise: nil)
  }

  /// Finds out whether the agent is there and answers (`guest-sync-delimited`).
  ///
  /// - Throws: ``QMPError/Code/deadline`` when no agent answers, and as ``execute(_:_:deadline:)``.
  public func synchronize(deadline: Duration = .seconds(5)) async throws(QMPError) {
    _ = try await ask(nil, nil, deadline: deadline)
  }

  /// Synchronizes, sends a command and waits for its result.
  ///
  /// - Parameter deadline: from now, waiting for earlier commands included.
  /// - Throws: ``QMPError/Code/command`` when the agent refused, ``QMPError/Code/deadline``,
  ///   ``QMPError/Code/cancelled``, ``QMPError/Code/closed``, ``QMPError/Code/busy``,
  ///   ``QMPError/Code/protocolViolation``.
  @discardableResult
  public func execute(
    _ command: String, _ arguments: JSONValue? = nil, deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> JSONValue {
    try await ask(command, arguments, deadline: deadline)
  }

  /// Closes the connection. All that wait get ``QMPError/Code/closed``.
  public func close() {
    let handler = handler
    channel.eventLoop.execute {
      handler.value.end(QMPError(.closed, "the connection to the guest agent was closed here"))
    }
  }

  private func ask(
    _ command: String?, _ arguments: JSONValue?, deadline: Duration
  ) async throws(QMPError) -> JSONValue {
    let call = ClientCall(id: lastID.wrappingAdd(1, ordering: .relaxed).newValue)
    let loop = channel.eventLoop
    let handler = handler
    let result: Result<JSONValue, QMPError> = await withTaskCancellationHandler {
      await withCheckedContinuation { answer in
        loop.execute {
          handler.value.ask(
            call, command: command, arguments: arguments, deadline: deadline, answer: answer)
        }
      }
    } onCancel: {
      call.cancel()
      loop.execute { handler.value.cancel(call) }
    }
    return try result.get()
  }
}
