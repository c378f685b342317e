import NIOCore
import QMP

/// The host's side of a guest agent's connection: one exchange after the other, each opened by a
/// synchronization that discards whatever the guest sent before. Confined to its channel's event loop.
///
/// The guest is hostile input. It is read from only while an answer is awaited, so that a guest that
/// floods its channel costs the host nothing, and one exchange reads at most ``maximumBytes``.
final class AgentHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  typealias Answer = CheckedContinuation<Result<JSONValue, QMPError>, Never>

  static let maximumQueued = 64
  static let maximumLineLength = 1 << 18
  static let maximumBytes = 1 << 20

  private struct Exchange {
    let id: UInt64
    /// What to ask once in step; nil when being in step was all that was wanted.
    let command: QMPCommand?
    let answer: Answer
    let timeout: Scheduled<Void>

    var name: String { command?.name ?? "guest-sync-delimited" }
  }

  private enum Stage {
    case idle
    case synchronizing(Exchange, mark: Int64)
    case awaiting(Exchange)
    case closed(QMPError)
  }

  private var stage = Stage.idle
  private var queue: [Exchange] = []
  private var framer = QMPLineFramer(maximumLineLength: AgentHandler.maximumLineLength)
  private var bytesRead = 0
  private var context: ChannelHandlerContext?

  // MARK: - Of the channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end(QMPError(.closed, "the connection to the guest agent is closed"))
    self.context = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(QMPError(.closed, "the guest agent's channel was closed by QEMU"))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(QMPError(.closed, "the guest agent's channel broke: \(error)", cause: error))
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .closed = stage { return }
    let bytes = unwrapInboundIn(data).readableBytesView
    bytesRead += bytes.count
    do throws(QMPWireError) {
      try framer.append(bytes)
    } catch {
      end(QMPError(.protocolViolation, "the guest agent sent nonsense: \(error)", cause: error))
      return
    }
    while let line = framer.nextLine() { receive(line) }
    if isBusy, bytesRead > AgentHandler.maximumBytes {
      end(
        QMPError(
          .protocolViolation,
          "the guest agent sent more than \(AgentHandler.maximumBytes) bytes instead of an answer"))
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if isBusy { context.read() }
  }

  private func receive(_ line: [UInt8]) {
    switch stage {
    case .idle, .closed:
      return
    case .synchronizing(let exchange, let mark):
      // Anything but the mark is from before: answers that nobody waits for any more, half lines.
      guard case .reply(_, .success(.integer(mark)))? = try? QMPMessage.parse(line: line) else {
        return
      }
      guard let command = exchange.command else {
        finish(exchange, .success(.null))
        return
      }
      stage = .awaiting(exchange)
      write(command.encodedLine())
    case .awaiting(let exchange):
      do throws(QMPWireError) {
        // Agents older than QEMU 4 do not return identifiers. In step, the next reply is the one.
        if case .reply(let id, let result) = try QMPMessage.parse(line: line),
          id == nil || id == exchange.id
        {
          finish(exchange, result.mapError { .refused(exchange.name, $0) })
        }
      } catch {
        end(QMPError(.protocolViolation, "the guest agent sent nonsense: \(error)", cause: error))
      }
    }
  }

  // MARK: - Of the callers

  func ask(
    _ call: ClientCall, command: String?, arguments: JSONValue?, deadline: Duration, answer: Answer
  ) {
    let name = command ?? "guest-sync-delimited"
    func refuse(_ code: QMPError.Code, _ why: String, cause: (any Error)? = nil) {
      answer.resume(
        returning: .failure(QMPError(code, "\(name) was not sent: \(why)", cause: cause)))
    }
    if case .closed(let error) = stage { return refuse(.closed, error.message, cause: error) }
    if call.isCancelled { return refuse(.cancelled, "the task was cancelled") }
    guard let context, queue.count < AgentHandler.maximumQueued else {
      return refuse(.busy, "\(queue.count) commands wait for their turn")
    }
    guard context.channel.isWritable else {
      return refuse(.deadline, "the guest agent reads nothing")
    }
    let timeout = context.eventLoop.assumeIsolated().scheduleTask(deadline: .after(deadline)) {
      [weak self] () -> Void in
      self?.abandon(call.id, .late(name, after: deadline))
    }
    queue.append(
      Exchange(
        id: call.id, command: command.map { QMPCommand($0, arguments: arguments, id: call.id) },
        answer: answer, timeout: timeout))
    startNext()
  }

  func cancel(_ call: ClientCall) {
    abandon(call.id, QMPError(.cancelled, "waiting for the guest agent was cancelled"))
  }

  /// Answers all who wait and closes. Once.
  func end(_ error: QMPError) {
    var waiting = queue
    switch stage {
    case .closed: return
    case .idle: break
    case .synchronizing(let exchange, _), .awaiting(let exchange): waiting.append(exchange)
    }
    stage = .closed(error)
    queue = []
    for exchange in waiting {
      exchange.timeout.cancel()
      exchange.answer.resume(
        returning: .failure(
          QMPError(error.code, "\(exchange.name): \(error.message)", cause: error)))
    }
    context?.close(promise: nil)
  }

  private var isBusy: Bool {
    switch stage {
    case .idle, .closed: false
    case .synchronizing, .awaiting: true
    }
  }

  private func startNext() {
    guard case .idle = stage, !queue.isEmpty else { return }
    let exchange = queue.removeFirst()
    let mark = Int64.random(in: 1...Int64.max)
    stage = .synchronizing(exchange, mark: mark)
    bytesRead = 0
    // 0xFF makes the agent's parser forget half a command; "delimited" makes it send one back.
    let synchronization = QMPCommand(
      "guest-sync-delimited", arguments: ["id": .integer(mark)], id: exchange.id)
    write([0xFF] + synchronization.encodedLine())
    context?.read()
  }

  private func finish(_ exchange: Exchange, _ result: Result<JSONValue, QMPError>) {
    stage = .idle
    exchange.timeout.cancel()
    exchange.answer.resume(returning: result)
    startNext()
  }

  private func abandon(_ id: UInt64, _ error: QMPError) {
    switch stage {
    case .synchronizing(let exchange, _) where exchange.id == id,
      .awaiting(let exchange) where exchange.id == id:
      finish(exchange, .failure(error))
    default:
      guard let index = queue.firstIndex(where: { $0.id == id }) else { return }
      let exchange = queue.remove(at: index)
      exchange.timeout.cancel()
      exchange.answer.resume(returning: .failure(error))
    }
  }

  private func write(_ bytes: [UInt8]) {
    guard let context else { return }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
  }
}
