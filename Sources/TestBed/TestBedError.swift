/// What went wrong in the test bed.
public struct TestBedError: Error, CustomStringConvertible, Sendable {
  /// The kind of failure. More kinds may be added.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The machine lacks something that the lab needs; the message says what to do.
    public static let unprepared = Code(rawValue: "unprepared")
    /// A program that the lab ran failed; its output is in the message.
    public static let command = Code(rawValue: "command")
    /// Something did not happen in time.
    public static let deadline = Code(rawValue: "deadline")
    /// A connection ended or answered something unexpected.
    public static let connection = Code(rawValue: "connection")
    /// A file or an answer does not have the expected form.
    public static let malformed = Code(rawValue: "malformed")
  }

  public let code: Code
  /// What was tried and what was wrong with it.
  public let message: String
  public let cause: (any Error)?

  public init(code: Code, message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  public var description: String {
    guard let cause else { return message }
    return "\(message): \(cause)"
  }
}
