import API

/// What the daemon could not do, in terms of the host rather than of one module.
public struct DaemonError: Error, CustomStringConvertible, Sendable {
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let stateDirectory = Code(rawValue: "stateDirectory")
    public static let stateDirectoryInUse = Code(rawValue: "stateDirectoryInUse")
    /// The request does not fit the VM's state.
    public static let wrongState = Code(rawValue: "wrongState")
    /// The VM is in use, so it is not put to sleep.
    public static let inUse = Code(rawValue: "inUse")
    /// QEMU did not start, or not as expected.
    public static let startFailed = Code(rawValue: "startFailed")
    /// The VM cannot be made to run; its frames are held and the daemon goes on trying.
    public static let wakeFailed = Code(rawValue: "wakeFailed")
    /// The state of a VM could not be written.
    public static let saveFailed = Code(rawValue: "saveFailed")
  }

  public let code: Code
  /// What was wrong, and what to do where something can be done.
  public let message: String
  public var description: String { message }

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}
