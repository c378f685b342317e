/// Why a VM cannot be, or was not, suspended to swap. The VM itself is never harmed: whoever meets this
/// error continues it.
public struct SuspendError: Error, CustomStringConvertible, Sendable {
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The machine's memory or devices forbid paging it out.
    public static let unpageable = Code(rawValue: "unpageable")
    /// There is no swap at all.
    public static let noSwap = Code(rawValue: "noSwap")
    /// Swap has too little room for the VM.
    public static let swapShort = Code(rawValue: "swapShort")
    /// Swap ran full while the VM was being paged out.
    public static let swapFull = Code(rawValue: "swapFull")
    /// The VM was woken while it was being paged out.
    public static let interrupted = Code(rawValue: "interrupted")
    /// The kernel kept too much of the VM in memory for the sleep to be worth it.
    public static let declined = Code(rawValue: "declined")
    /// The record of what a wake uses cannot be used.
    public static let badRecord = Code(rawValue: "badRecord")
  }

  public let code: Code
  /// What was wrong and what helps.
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}
