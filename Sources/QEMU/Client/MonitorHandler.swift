import NIOCore
import QMP

/// One side of a monitor's connection: greeting and negotiation, then commands, replies and events.
/// Confined to its channel's event loop.
final class MonitorHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  typealias Answer = CheckedContinuation<Result<JSONValue, QMPError>, Never>

  /// More than any sane caller has in flight; each holds a continuation and a timer.
  static let maximumPending = 1024

  private enum Stage {
    case awaitingGreeting
    case negotiating(QMPGreeting)
    case ready
    case closed(QMPError)
  }

  private struct Pending {
    let command: String
    let answer: Answer
    let timeout: Scheduled<Void>
  }

  /// Fulfilled when commands may be sent.
  let ready: EventLoopPromise<QMPGreeting>

  private let subscribers: Subscribers
  private let handshakeDeadline: NIODeadline
  private var stage = Stage.awaitingGreeting
  private var framer = QMPLineFramer()
  private var pending: [UInt64: Pending] = [:]
  private var highestSent: UInt64 = 0
  private var context: ChannelHandlerContext?
  private var handshakeTimeout: Scheduled<Void>?

  /// Commands of callers are numbered from 1.
  private static let negotiation: UInt64 = 0

  init(
    ready: EventLoopPromise<QMPGreeting>, subscribers: Subscribers, handshakeDeadline: NIODeadline
  ) {
    self.ready = ready
    self.subscribers = subscribers
    self.handshakeDeadline = handshakeDeadline
  }

  // MARK: - Of the channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    handshakeTimeout = context.eventLoop.assumeIsolated().scheduleTask(
      deadline: handshakeDeadline
    ) { [weak self] () -> Void in
      self?.end(QMPError(.deadline, "the monitor did not finish its greeting in time"))
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end(QMPError(.closed, "the connection to the monitor is closed"))
    self.context = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(QMPError(.closed, "the monitor closed the connection"))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(QMPError(.closed, "the connection to the monitor broke: \(error)", cause: error))
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .closed = stage { return }
    do throws(QMPWireError) {
      try framer.append(unwrapInboundIn(data).readableBytesView)
      while let line = framer.nextLine() {
        receive(try QMPMessage.parse(line: line))
        if case .closed = stage { return }
      }
    } catch {
      end(QMPError(.protocolViolation, "the monitor sent nonsense: \(error)", cause: error))
    }
  }

  private func receive(_ message: QMPMessage) {
    switch (stage, message) {
    case (.awaitingGreeting, .greeting(let greeting)):
      stage = .negotiating(greeting)
      write(QMPCommand("qmp_capabilities", id: MonitorHandler.negotiation))
    case (.negotiating(let greeting), .reply(MonitorHandler.negotiation, .success)):
      stage = .ready
      handshakeTimeout?.cancel()
      ready.succeed(greeting)
    case (.negotiating, .reply(MonitorHandler.negotiation, .failure(let failure))):
      end(.refused("qmp_capabilities", failure))
    case (.ready, .event(let event)):
      subscribers.publish(event)
    case (.ready, .reply(let id?, let result)) where id > 0 && id <= highestSent:
      // Not there any more: its caller gave up, or had it answered before.
      guard let call = pending.removeValue(forKey: id) else { return }
      call.timeout.cancel()
      call.answer.resume(returning: result.mapError { .refused(call.command, $0) })
    case (.closed, _):
      return
    default:
      end(QMPError(.protocolViolation, "the monitor sent a message that has no place here"))
    }
  }

  // MARK: - Of the callers

  func send(
    _ call: ClientCall, command: String, arguments: JSONValue?, deadline: Duration, answer: Answer
  ) {
    if case .closed(let error) = stage {
      answer.resume(
        returning: .failure(
          QMPError(.closed, "\(command) was not sent: \(error.message)", cause: error)))
      return
    }
    if call.isCancelled {
      answer.resume(returning: .failure(QMPError(.cancelled, "\(command) was cancelled")))
      return
    }
    guard let context, pending.count < MonitorHandler.maximumPending else {
      answer.resume(
        returning: .failure(
          QMPError(.busy, "\(command) was not sent: \(pending.count) commands wait for answers")))
      return
    }
    guard context.channel.isWritable else {
      // A monitor that reads nothing would otherwise be sent to without end, by callers that each give
      // up in time.
      answer.resume(
        returning: .failure(
          QMPError(.deadline, "\(command) was not sent: the monitor no longer reads commands")))
      return
    }
    highestSent = max(highestSent, call.id)
    let timeout = context.eventLoop.assumeIsolated().scheduleTask(deadline: .after(deadline)) {
      [weak self] () -> Void in
      self?.abandon(call.id, .late(command, after: deadline))
    }
    pending[call.id] = Pending(command: command, answer: answer, timeout: timeout)
    write(QMPCommand(command, arguments: arguments, id: call.id))
  }

  func cancel(_ call: ClientCall) {
    abandon(call.id, QMPError(.cancelled, "waiting for a monitor's answer was cancelled"))
  }

  /// Answers all who wait, tells the subscribers, closes. Once.
  func end(_ error: QMPError) {
    if case .closed = stage { return }
    stage = .closed(error)
    handshakeTimeout?.cancel()
    ready.fail(error)
    let waiting = pending
    pending = [:]
    for call in waiting.values {
      call.timeout.cancel()
      call.answer.resume(
        returning: .failure(
          QMPError(
            error.code == .protocolViolation ? .protocolViolation : .closed,
            "\(call.command): \(error.message)", cause: error)))
    }
    subscribers.finish()
    context?.close(promise: nil)
  }

  private func abandon(_ id: UInt64, _ error: QMPError) {
    guard let call = pending.removeValue(forKey: id) else { return }
    call.timeout.cancel()
    call.answer.resume(returning: .failure(error))
  }

  private func write(_ command: QMPCommand) {
    guard let context else { return }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: command.encodedLine())), promise: nil)
  }
}
