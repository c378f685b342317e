import Glibc
import LinuxSystem

/// The file that has the sentry's standard error.
///
/// The sentry keeps it open, and outlives daemons; so what it has grown by is copied away and the file cut,
/// instead of being given another name.
package struct SentryLog: Sendable {
  /// Bytes from which on it is cut. The sentry writes some 4 KiB a second at most, and is looked at once a
  /// minute.
  package static let limit = 1 << 20

  private let path: String

  package init(path: String) {
    self.path = path
  }

  /// What was cut off last.
  package var older: String { path + ".1" }

  /// Cuts the file if it has grown too long. May wait for the disk. Lines that come in meanwhile may be lost.
  package func bound() throws {
    let number = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    if number < 0, errno == ENOENT { return }
    let file = OwnedFileDescriptor(owning: try checked("open \(path)", number))
    var status = stat()
    try checked("look at \(path)", fstat(file.rawValue, &status))
    guard status.st_size > Self.limit else { return }
    let copy = OwnedFileDescriptor(
      owning: try checked(
        "make \(older)",
        open(older, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)))
    // The end of a file that somebody else has let grow beyond measure.
    var position = max(0, status.st_size - 2 * Self.limit)
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try checked("read \(path)", pread(file.rawValue, &chunk, chunk.count, position))
      guard count > 0 else { break }
      try checked("write \(older)", write(copy.rawValue, chunk, count))
      position += count
    }
    try checked("cut \(path)", ftruncate(file.rawValue, 0))
  }
}
