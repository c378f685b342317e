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
    do {
      let bytes = [UInt8](try JSONEncoder().encode(SentryRequest(id: id, body: body)))
      try socket.send(bytes, descriptors: descriptors)
    } catch {
      throw SentryError(.lost, "the sentry cannot be reached: \(error)")
    }
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

  private func settle(_ id: UInt64, _ result: Result<SentryReply.Body, any Error>) {
    pending.removeValue(forKey: id)?.resume(with: result)
  }

  /// Reads until the sentry is gone. Ends without an error when it is.
  package func readNotices(_ deliver: (SentryNotice) -> Void) async {
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
            deliver(notice)
          } else {
            settle(reply.id, .success(reply.body))
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
  }
}
