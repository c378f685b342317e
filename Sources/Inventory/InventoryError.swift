import GRDB

/// Why the inventory did not do what was asked. After any error of a write, nothing of that write is
/// in the database.
public struct InventoryError: Error, Sendable, CustomStringConvertible {
  /// The kind of failure.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The code's name.
    public let rawValue: String

    /// A code from its name.
    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// The disk, or the quota, is full. Freeing space is enough to go on.
    public static let diskFull = Code(rawValue: "diskFull")
    /// The file is not a database, or is damaged.
    public static let corrupt = Code(rawValue: "corrupt")
    /// Another process holds the database.
    public static let busy = Code(rawValue: "busy")
    /// The file or its directory cannot be written.
    public static let readOnly = Code(rawValue: "readOnly")
    /// The file cannot be opened or created.
    public static let cannotOpen = Code(rawValue: "cannotOpen")
    /// The disk reported an error.
    public static let inputOutput = Code(rawValue: "inputOutput")
    /// A newer release has changed the database's layout.
    public static let newerVersion = Code(rawValue: "newerVersion")
    /// There is no such record.
    public static let notFound = Code(rawValue: "notFound")
    /// There is such a record already, or one that excludes it.
    public static let constraint = Code(rawValue: "constraint")
    /// Anything else.
    public static let other = Code(rawValue: "other")
  }

  /// The kind of failure.
  public let code: Code
  /// What was wrong.
  public let message: String
  /// What SQLite said, or what a transaction's body threw.
  public let cause: (any Error)?

  /// An error from its parts.
  public init(code: Code, message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// The message and its cause.
  public var description: String {
    guard let cause else { return message }
    return "\(message): \(cause)"
  }

  /// Gives any error that came out of GRDB its code.
  init(_ error: any Error, while action: String) {
    if let error = error as? InventoryError {
      self = error
      return
    }
    let code = (error as? DatabaseError).map(Code.init) ?? .other
    self.init(code: code, message: Self.message(code, action), cause: error)
  }

  private static func message(_ code: Code, _ action: String) -> String {
    switch code {
    case .diskFull: "cannot \(action): no space is left on the state directory's disk"
    case .corrupt: "cannot \(action): the database is damaged"
    case .busy: "cannot \(action): another process holds the database"
    case .readOnly: "cannot \(action): the database cannot be written"
    default: "cannot \(action)"
    }
  }
}

extension InventoryError.Code {
  fileprivate init(_ error: DatabaseError) {
    // The extended codes first: a full disk that is met while the shared memory index grows is told
    // as an input/output error.
    switch error.extendedResultCode {
    case .SQLITE_IOERR_SHMSIZE:
      self = .diskFull
      return
    default:
      break
    }
    self =
      switch error.resultCode {
      case .SQLITE_FULL: .diskFull
      case .SQLITE_CORRUPT, .SQLITE_NOTADB: .corrupt
      case .SQLITE_BUSY, .SQLITE_LOCKED: .busy
      case .SQLITE_READONLY, .SQLITE_PERM: .readOnly
      case .SQLITE_CANTOPEN: .cannotOpen
      case .SQLITE_IOERR: .inputOutput
      case .SQLITE_CONSTRAINT: .constraint
      default: .other
      }
  }
}
