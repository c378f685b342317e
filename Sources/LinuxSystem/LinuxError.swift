public import SystemPackage

/// What went wrong between this process and the kernel.
public struct LinuxError: Error, CustomStringConvertible, Sendable {
  /// The kind of failure, for callers that act on it. More kinds may be added.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// A system call failed for a reason without a kind of its own; see ``LinuxError/errno``.
    public static let system = Code(rawValue: "system")
    /// The file, interface or other named object does not exist.
    public static let notFound = Code(rawValue: "notFound")
    /// This kernel, or its configuration, cannot do it.
    public static let unsupported = Code(rawValue: "unsupported")
    /// Input (an argument, a file, a message) is not of the expected form.
    public static let malformed = Code(rawValue: "malformed")
    /// A queue, a limit or a resource is full for now.
    public static let exhausted = Code(rawValue: "exhausted")
    /// The process or the peer that was meant no longer exists.
    public static let gone = Code(rawValue: "gone")
  }

  public let code: Code
  /// What was tried and what was wrong with it, fit for an operator's eyes.
  public let message: String
  /// The error number, when a system call reported one.
  public let errno: Errno?

  public init(code: Code, message: String, errno: Errno? = nil) {
    self.code = code
    self.message = message
    self.errno = errno
  }

  /// A failed system call. The kind follows from the error number; pass what was being done, such as
  /// `"open /proc/swaps"`.
  public init(_ operation: String, _ errno: Errno) {
    let code: Code =
      switch errno {
      case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .operationNotSupportedByDevice: .notFound
      case .noFunction, .notSupported: .unsupported
      case .resourceTemporarilyUnavailable, .noMemory, .noSpace, .tooManyOpenFiles,
        .tooManyOpenFilesInSystem, .noBufferSpace:
        .exhausted
      case .noSuchProcess, .connectionRefused, .brokenPipe, .connectionReset: .gone
      default: .system
      }
    self.init(code: code, message: "\(operation): \(errno)", errno: errno)
  }

  public var description: String { message }
}

/// Turns the "minus one and errno" convention into a ``LinuxError`` that names the operation.
@discardableResult
public func checked<Value: SignedInteger>(
  _ operation: @autoclosure () -> String, _ result: Value
) throws(LinuxError) -> Value {
  do {
    return try checked(result)
  } catch {
    throw LinuxError(operation(), error)
  }
}
