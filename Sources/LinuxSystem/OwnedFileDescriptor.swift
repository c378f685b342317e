import CLinux
public import SystemPackage

/// A file descriptor with exactly one owner, closed exactly once: when the owner goes away, or when
/// ``close()`` is called.
public struct OwnedFileDescriptor: ~Copyable, Sendable {
  /// The descriptor's number. Valid for as long as this value lives; never close it directly.
  public let rawValue: CInt

  /// Takes ownership of an open descriptor. The caller must not use the number on its own afterwards.
  public init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  deinit {
    _ = dormouse_close(rawValue)
  }

  /// Gives up ownership without closing.
  public consuming func release() -> CInt {
    let number = rawValue
    discard self
    return number
  }

  /// Closes now instead of at the end of the owner's life. Errors of close(2) are not reported: the
  /// descriptor is gone in any case.
  public consuming func close() {}

  /// A second descriptor of the same open file description, with its own owner (close-on-exec).
  public borrowing func duplicate() throws(Errno) -> OwnedFileDescriptor {
    OwnedFileDescriptor(owning: try checked(dormouse_dup_cloexec(rawValue)))
  }
}

/// Turns the "minus one and errno" convention into a typed error.
@discardableResult
public func checked<Value: SignedInteger>(_ result: Value) throws(Errno) -> Value {
  if result == -1 { throw Errno(rawValue: dormouse_errno()) }
  return result
}
