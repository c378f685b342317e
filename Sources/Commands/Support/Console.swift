import API
import ArgumentParser
import Glibc

/// The process's standard output and standard error.
enum Console {
  /// Writes a line to standard output. Ends the process with 1 when nobody reads it any more.
  static func print(_ text: String) throws {
    guard write(text + "\n", to: STDOUT_FILENO) else { throw ExitCode.failure }
  }

  /// Writes what went wrong to standard error: what was wrong, what is still intact, what to do.
  static func complain(_ error: APIError) {
    var lines = ["dormouse: \(Table.clean(error.message))"]
    if let intact = error.intact { lines.append("  intact: \(Table.clean(intact))") }
    if let advice = error.advice { lines.append("  advice: \(Table.clean(advice))") }
    // There is no third place to complain that standard error is closed.
    _ = write(lines.joined(separator: "\n") + "\n", to: STDERR_FILENO)
  }

  /// Whether a person looks at standard error.
  static var isInteractive: Bool {
    guard isatty(STDERR_FILENO) == 1 else { return false }
    return getenv("TERM").map { String(cString: $0) != "dumb" } ?? false
  }

  /// Writes all of a text; false when that is not possible.
  static func write(_ text: String, to descriptor: Int32) -> Bool {
    var text = text
    return text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return false }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
      return true
    }
  }
}
