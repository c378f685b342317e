import FoundationEssentials
import LinuxSystem
import Logging
import Seamless

/// Why a request to the sentry came to nothing.
public struct SentryError: Error, CustomStringConvertible, Sendable {
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// There is no sentry, or it died before it answered.
    public static let lost = Code(rawValue: "sentryLost")
    /// The sentry did not answer in time.
    public static let silent = Code(rawValue: "sentrySilent")
    /// The sentry refused because of traffic: the VM is in use.
    public static let activity = Code(rawValue: "activity")
    /// The sentry refused for another reason.
    public static let refused = Code(rawValue: "sentryRefused")
    /// The sentry could not be started.
    public static let startFailed = Code(rawValue: "sentryStartFailed")
  }

  public let code: Code
  public let message: String
  public var description: String { message }

  init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}

/// One connection to the sentry: requests with deadlines, and the stream of its notices.
package actor SentryConnection {
  private let socket: SequencedPacketSocket
  private var pending: [UInt64: CheckedContinuation<SentryReply.Body, any Error>] = [:]
  /// Answers of which further parts are to come.
  private var partial: [UInt64: (body: SentryReply.Body, parts: Int)] = [:]
  private var nextID: UInt64 = 1
  private var closed = false

  package init(_ socket: consuming SequencedPacketSocket) {
    self.socket = socket
  }

  /// Asks and waits for the answer.
  ///
  /// - Parameter descriptors: sent along; the caller keeps its own.
  /// - Throws: ``SentryError``.
  package func request(
    _ body: SentryRequest.Body, descriptors: [CInt] = [], deadline: Duration = .seconds(10)
  ) async throws -> SentryReply.Body {
    guard !closed else { throw SentryError(.lost, "the sentry is gone") }
    let id = nextID
    nextID += 1
    try await send(SentryRequest(id: id, body: body), descriptors, within: deadline)
    let timer = Task {
      try await Task.sleep(for: deadline)
      self.settle(id, .failure(SentryError(.silent, "the sentry did not answer in \(deadline)")))
    }
    defer { timer.cancel() }
    let answer = try await withCheckedThrowingContinuation { pending[id] = $0 }
    if case .refused(let code, let message) = answer {
      throw SentryError(code == .activity ? .activity : .refused, message)
    }
    return answer
  }

  /// Waits for room in the socket: thousands of VMs may have something to ask at the same time.
  private func send(
    _ request: SentryRequest, _ descriptors: [CInt], within deadline: Duration
  ) async throws {
    let end = ContinuousClock.now + deadline
    let bytes = [UInt8](try JSONEncoder().encode(request))
    while true {
      guard !closed else { throw SentryError(.lost, "the sentry is gone") }
      if try transmit(bytes, descriptors) { return }
      guard ContinuousClock.now < end else {
        throw SentryError(.silent, "the sentry did not read in \(deadline)")
      }
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  /// Returns whether there was room.
  private func transmit(_ bytes: [UInt8], _ descriptors: [CInt]) throws -> Bool {
    do {
      try socket.send(bytes, descriptors: descriptors)
      return true
    } catch {
      if error.code == .exhausted { return false }
      throw SentryError(.lost, "the sentry cannot be reached: \(error)")
    }
  }

  /// Takes an answer or a part of one.
  private func take(_ reply: SentryReply) throws {
    // A late answer is nobody's any more.
    guard pending[reply.id] != nil else {
      partial[reply.id] = nil
      return
    }
    let earlier = partial[reply.id]
    let body = earlier.map { $0.body.joined(with: reply.body) } ?? reply.body
    let parts = (earlier?.parts ?? 0) + 1
    guard let body, parts <= SentryProtocol.maximumParts else {
      throw SentryError(.refused, "the sentry's answer has parts that do not belong together")
    }
    if reply.more {
      partial[reply.id] = (body, parts)
    } else {
      partial[reply.id] = nil
      settle(reply.id, .success(body))
    }
  }

  private func settle(_ id: UInt64, _ result: Result<SentryReply.Body, any Error>) {
    pending.removeValue(forKey: id)?.resume(with: result)
  }

  /// Reads until the sentry is gone, or cannot be followed. Ends without an error when it is.
  ///
  /// - Parameter deliver: takes one notice; what it throws ends the connection.
  package func readNotices(_ deliver: (SentryNotice) throws -> Void) async {
    while !closed, !Task.isCancelled {
      do {
        guard
          try await ReadinessMonitor.shared.wait(untilReadable: socket.descriptor, timeout: nil)
        else { continue }
        while let received = try socket.receive(
          maximumBytes: SentryProtocol.maximumMessageBytes, maximumDescriptors: 0)
        {
          if received.endOfStream { return close() }
          let reply = try JSONDecoder().decode(
            SentryReply.self, from: Data(received.bytes))
          if case .notice(let notice) = reply.body {
            try deliver(notice)
          } else {
            try take(reply)
          }
        }
      } catch {
        return close()
      }
    }
    close()
  }

  private func close() {
    closed = true
    for (_, continuation) in pending {
      continuation.resume(throwing: SentryError(.lost, "the sentry died before it answered"))
    }
    pending.removeAll()
    partial.removeAll()
  }
}
