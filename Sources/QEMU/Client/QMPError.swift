public import QMP

/// Why a conversation with a monitor or a guest agent, or one command of it, failed.
public struct QMPError: Error, CustomStringConvertible, Sendable {
  /// The kind of failure. More kinds may be added.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// There is nobody to talk to at that path.
    public static let connect = Code(rawValue: "connect")
    /// The connection is closed, by either side. The command may or may not have been executed.
    public static let closed = Code(rawValue: "closed")
    /// No answer in time. The command may or may not have been executed.
    public static let deadline = Code(rawValue: "deadline")
    /// The caller's task was cancelled. The command may or may not have been executed.
    public static let cancelled = Code(rawValue: "cancelled")
    /// The peer refused the command; see ``QMPError/failure``.
    public static let command = Code(rawValue: "command")
    /// The peer does not keep to the protocol. A monitor's connection is closed on it.
    public static let protocolViolation = Code(rawValue: "protocolViolation")
    /// Too many commands are waiting for their answers.
    public static let busy = Code(rawValue: "busy")
  }

  public let code: Code
  public let message: String
  /// What the peer answered, for ``Code/command``.
  public let failure: QMPFailure?
  public let cause: (any Error)?

  public init(
    _ code: Code, _ message: String, failure: QMPFailure? = nil, cause: (any Error)? = nil
  ) {
    self.code = code
    self.message = message
    self.failure = failure
    self.cause = cause
  }

  static func refused(_ command: String, _ failure: QMPFailure) -> QMPError {
    // The peer's text may be the guest's: bounded, so that it cannot fill logs.
    QMPError(
      .command, "\(command) was refused: \(failure.description.prefix(400))", failure: failure)
  }

  static func late(_ command: String, after deadline: Duration) -> QMPError {
    QMPError(.deadline, "\(command) was not answered within \(deadline)")
  }

  static func unexpected(_ command: String) -> QMPError {
    QMPError(.protocolViolation, "\(command) was answered with something else than its result")
  }

  public var description: String { message }
}
