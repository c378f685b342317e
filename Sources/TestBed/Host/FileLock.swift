import Glibc
import LinuxSystem

/// An exclusive flock(2) on a file, given back when this value goes away or the process ends.
struct FileLock: ~Copyable, Sendable {
  private let file: OwnedFileDescriptor

  /// Takes the lock, after waiting for its present holder if need be.
  ///
  /// - Parameters:
  ///   - path: the lock file, made when it is absent.
  ///   - onWait: called once if somebody else has the lock.
  static func take(_ path: String, onWait: () -> Void) async throws -> FileLock {
    let number = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    let file = OwnedFileDescriptor(owning: try checked("open \(path)", number))
    if flock(file.rawValue, LOCK_EX | LOCK_NB) != 0 {
      onWait()
      try await onBlockingThread("lock") {
        while flock(number, LOCK_EX) != 0 {
          if errno != EINTR { try checked("lock \(path)", -1) }
        }
      }
    }
    return FileLock(file: file)
  }
}
