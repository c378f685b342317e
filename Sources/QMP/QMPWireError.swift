/// What is wrong with bytes that were received. After any of these the peer cannot be trusted to be in
/// step any more: close the connection.
public struct QMPWireError: Error, CustomStringConvertible, Hashable {
  /// The kind of fault.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// A line is longer than the framer's bound.
    public static let lineTooLong = Code(rawValue: "lineTooLong")
    /// A line is not JSON.
    public static let malformed = Code(rawValue: "malformed")
    /// A line is JSON, nested deeper or made of more values than anything that QEMU sends.
    public static let excessive = Code(rawValue: "excessive")
    /// A line is JSON, but neither greeting nor reply nor event.
    public static let notAMessage = Code(rawValue: "notAMessage")
  }

  public let code: Code
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}
