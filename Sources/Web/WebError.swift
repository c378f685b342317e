/// Why the server does not serve.
public struct WebError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The kind of failure.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The code's name.
    public let rawValue: String

    /// A code from its name.
    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// Another daemon listens on this path.
    public static let inUse = Code(rawValue: "inUse")
    /// The path is too long, or something that is no socket stands there.
    public static let invalidPath = Code(rawValue: "invalidPath")
    /// The kernel refused.
    public static let system = Code(rawValue: "system")
  }

  /// The kind of failure.
  public let code: Code
  /// What was wrong.
  public let message: String

  /// An error from its parts.
  public init(code: Code, message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
