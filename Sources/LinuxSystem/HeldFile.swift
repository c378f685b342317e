/// An open file that lives as long as somebody refers to it.
public final class HeldFile: Sendable {
  private let descriptor: OwnedFileDescriptor

  /// Holds an open descriptor, and closes it in the end.
  public init(owning descriptor: consuming OwnedFileDescriptor) {
    self.descriptor = descriptor
  }

  /// The descriptor's number. Valid for as long as this object lives; never close it directly.
  public var number: CInt { descriptor.rawValue }
}
