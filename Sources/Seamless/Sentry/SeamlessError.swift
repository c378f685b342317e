/// What went wrong in keeping a sleeping VM present.
public struct SeamlessError: Error, CustomStringConvertible {
  /// The kind of failure. New kinds may be added; compare with the constants.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String

    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// The memory of the cursors is too small, misaligned or of a size that no table has.
    public static let cursorMemory = Code(rawValue: "cursorMemory")
    /// The memory does not hold a table that this version can read.
    public static let cursorFormat = Code(rawValue: "cursorFormat")
  }

  public let code: Code
  /// What was wrong and, where it helps, what to do.
  public let message: String
  public let cause: (any Error)?

  public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  public var description: String {
    guard let cause else { return message }
    return "\(message): \(cause)"
  }
}
