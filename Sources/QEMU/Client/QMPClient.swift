public import LinuxSystem
public import NIOCore
public import NIOPosix
public import QMP
import Synchronization

/// A conversation with one of a machine's monitors (QMP over a Unix socket).
///
/// Commands may be sent from any task, many at a time; each has its own deadline. The peer is hostile
/// input: memory is bounded, and nonsense from it closes the connection. Dropping the last reference
/// closes the connection and leaves the machine alone.
///
/// The event loop group must outlive the client; the default one always does.
public final class QMPClient: Sendable {
  /// What the monitor said of itself.
  public let greeting: QMPGreeting

  private let channel: any Channel
  private let handler: NIOLoopBound<MonitorHandler>
  private let subscribers: Subscribers
  private let lastID = Atomic<UInt64>(0)

  /// Connects to the socket at the path and negotiates.
  ///
  /// - Parameter deadline: for all of it. QEMU serves one connection per socket at a time: while
  ///   another client has it, there is no greeting.
  /// - Throws: ``QMPError/Code/connect``, ``QMPError/Code/deadline``,
  ///   ``QMPError/Code/protocolViolation``, ``QMPError/Code/closed``.
  public static func connect(
    path: String, on group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> QMPClient {
    let end = ContinuousClock.now + deadline
    let socket = try await SocketChannel.connect(path: path, until: end)
    return try await adopt(socket, on: group, deadline: ContinuousClock.now.duration(to: end))
  }

  /// Takes a connected socket, one end of a socketpair(2) for example, and negotiates. Deadline and
  /// errors as for ``connect(path:on:deadline:)``.
  public static func adopt(
    _ socket: consuming OwnedFileDescriptor,
    on group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> QMPClient {
    let subscribers = Subscribers()
    let end = NIODeadline.after(deadline)
    let loop = group.next()
    let ready = loop.makePromise(of: QMPGreeting.self)
    let handler = await NIOLoopBound.make(on: loop) {
      MonitorHandler(ready: ready, subscribers: subscribers, handshakeDeadline: end)
    }
    let channel: any Channel
    do throws(QMPError) {
      channel = try await SocketChannel.open(socket, on: loop, autoRead: true, handler: handler)
    } catch {
      ready.fail(error)
      throw error
    }
    do {
      let greeting = try await withTaskCancellationHandler {
        try await ready.futureResult.get()
      } onCancel: {
        loop.execute {
          handler.value.end(QMPError(.cancelled, "connecting to the monitor was cancelled"))
        }
      }
      return QMPClient(
        greeting: greeting, channel: channel, handler: handler, subscribers: subscribers)
    } catch {
      throw error as? QMPError
        ?? QMPError(.closed, "the monitor closed the connection", cause: error)
    }
  }

  private init(
    greeting: QMPGreeting, channel: any Channel, handler: NIOLoopBound<MonitorHandler>,
    subscribers: Subscribers
  ) {
    self.greeting = greeting
    self.channel = channel
    self.handler = handler
    self.subscribers = subscribers
  }

  deinit {
    channel.close(promise: nil)
  }

  /// Sends a command and waits for its result.
  ///
  /// A command that was given up, by deadline or by cancellation of the task, may still be executed:
  /// look at the machine before acting on the error.
  ///
  /// - Throws: ``QMPError/Code/command`` when QEMU refused, ``QMPError/Code/deadline``,
  ///   ``QMPError/Code/cancelled``, ``QMPError/Code/closed``, ``QMPError/Code/busy``,
  ///   ``QMPError/Code/protocolViolation``.
  @discardableResult
  public func execute(
    _ command: String, _ arguments: JSONValue? = nil, deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> JSONValue {
    let call = ClientCall(id: lastID.wrappingAdd(1, ordering: .relaxed).newValue)
    let loop = channel.eventLoop
    let handler = handler
    let result: Result<JSONValue, QMPError> = await withTaskCancellationHandler {
      await withCheckedContinuation { answer in
        loop.execute {
          handler.value.send(
            call, command: command, arguments: arguments, deadline: deadline, answer: answer)
        }
      }
    } onCancel: {
      call.cancel()
      loop.execute { handler.value.cancel(call) }
    }
    return try result.get()
  }

  /// The machine's events from now on, until the connection closes or the subscriber leaves.
  ///
  /// Each call gives a stream of its own that holds the newest 256 events; a slow reader of a flooding
  /// monitor loses the oldest. So take events as a hint to look, and ask for what must be known.
  public func events() -> AsyncStream<QMPEvent> {
    subscribers.events()
  }

  /// Returns when the connection is closed, by either side, or when the task is cancelled.
  public func waitUntilClosed() async {
    for await _ in subscribers.end() {}
  }

  /// Closes the connection; the machine goes on as it is. All that wait get ``QMPError/Code/closed``.
  public func close() {
    let handler = handler
    channel.eventLoop.execute {
      handler.value.end(QMPError(.closed, "the connection to the monitor was closed here"))
    }
  }
}
