/// What the daemon answers when it did not do what was asked. The body of every HTTP response whose
/// status is 400 or more.
public struct APIError: Error, Codable, Sendable, Hashable {
  /// The kind of failure. More may come: treat a code that is not known here like ``internal``.
  public struct Code: RawRepresentable, Codable, Sendable, Hashable {
    /// The code as it is written in JSON.
    public let rawValue: String

    /// A code from its JSON text, known or not.
    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// No such virtual machine, or no such path. HTTP 404.
    public static let notFound = Code(rawValue: "notFound")
    /// The state of things forbids it: the name is taken, a transition is under way. HTTP 409.
    public static let conflict = Code(rawValue: "conflict")
    /// The request itself is wrong. HTTP 400.
    public static let invalid = Code(rawValue: "invalid")
    /// It could be tried, but would not be safe now: the VM is in use, swap lacks room. HTTP 422.
    public static let refused = Code(rawValue: "refused")
    /// The daemon, or something that it needs, does not answer. HTTP 503.
    public static let unavailable = Code(rawValue: "unavailable")
    /// The caller may not ask this daemon for anything. HTTP 403.
    public static let forbidden = Code(rawValue: "forbidden")
    /// Something went wrong that should not have. HTTP 500.
    public static let `internal` = Code(rawValue: "internal")
  }

  /// The kind of failure.
  public var code: Code
  /// What was wrong, as one sentence for a person.
  public var message: String
  /// What is still as it was, where that is in question ("the VM runs on").
  public var intact: String?
  /// What to do about it, where that can be said.
  public var advice: String?

  /// An error from its parts.
  public init(_ code: Code, _ message: String, intact: String? = nil, advice: String? = nil) {
    self.code = code
    self.message = message
    self.intact = intact
    self.advice = advice
  }

  /// The HTTP status that goes with the code.
  public var httpStatus: Int {
    switch code {
    case .invalid: 400
    case .forbidden: 403
    case .notFound: 404
    case .conflict: 409
    case .refused: 422
    case .unavailable: 503
    default: 500
    }
  }
}

extension APIError: CustomStringConvertible {
  /// All that the error says, on one line.
  public var description: String {
    var text = message
    if let intact { text += " (\(intact))" }
    if let advice { text += "; \(advice)" }
    return text
  }
}
