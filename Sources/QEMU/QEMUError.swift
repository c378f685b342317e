/// Why a machine could not be described, checked or started.
public struct QEMUError: Error, CustomStringConvertible, Sendable {
  /// The kind of failure. More kinds may be added.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// What was asked for cannot be a machine; the message names the field.
    public static let invalidMachine = Code(rawValue: "invalidMachine")
    /// The descriptors handed over do not fit the machine's description.
    public static let resources = Code(rawValue: "resources")
    /// There is no such QEMU, or it does not start.
    public static let binary = Code(rawValue: "binary")
    /// This QEMU is too old, or lacks what is needed.
    public static let unsupported = Code(rawValue: "unsupported")
    /// The file is no disk image that may be used.
    public static let image = Code(rawValue: "image")
    /// The host failed: a file cannot be opened, a process not be started.
    public static let host = Code(rawValue: "host")
  }

  public let code: Code
  public let message: String
  public let cause: (any Error)?

  public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  public var description: String { message }
}
