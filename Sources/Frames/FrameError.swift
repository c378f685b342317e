/// Why bytes could not be understood as a frame.
///
/// Thrown on every hostile or damaged frame, so it carries only constant strings and costs no
/// allocation. Nothing below this module can fail, hence there is no `cause`.
public struct FrameError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of damage it is. New kinds may be added; compare with the constants.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String

    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// The bytes end before a field does.
    public static let truncated = Code(rawValue: "truncated")
    /// A length or version field contradicts the frame.
    public static let inconsistent = Code(rawValue: "inconsistent")
    /// A checksum is wrong: whoever receives the frame drops it.
    public static let checksum = Code(rawValue: "checksum")
    /// An IP or neighbour discovery option is malformed.
    public static let options = Code(rawValue: "options")
    /// A TCP option is malformed. Unlike the others this does not mean that the receiver drops
    /// the frame: Linux reads the segment as if the options ended there.
    public static let tcpOptions = Code(rawValue: "tcpOptions")
    /// More IPv6 extension headers than are followed.
    public static let extensionHeaders = Code(rawValue: "extensionHeaders")
  }

  public let code: Code
  /// What was wrong, for a log.
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { "\(code.rawValue): \(message)" }
}
