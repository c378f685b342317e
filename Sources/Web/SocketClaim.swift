import Glibc
import LinuxSystem
import SystemPackage

/// The right to listen on a path: a locked file beside it, for as long as this value lives.
///
/// A stale socket cannot be told from one whose daemon is just about to listen without a lock, and
/// bind(2) refuses both. The kernel drops the lock when its holder dies, however it dies.
struct SocketClaim: ~Copyable {
  private let path: String
  private let lock: OwnedFileDescriptor

  /// Claims a path and makes sure that nobody listens there. A stale socket is left for bind to
  /// replace.
  init(path: String) throws(WebError) {
    // sun_path holds 108 bytes with the final zero (unix(7)).
    guard path.hasPrefix("/"), path.utf8.count <= 107, !path.utf8.contains(0) else {
      throw WebError(
        code: .invalidPath,
        message: "\(path) cannot be a socket's path: it must be absolute and at most 107 bytes long"
      )
    }
    let lock = try Self.lock(path + ".lock", for: path)
    do throws(WebError) {
      try Self.checkNobodyListens(at: path)
    } catch {
      unlink(path + ".lock")
      throw error
    }
    self.path = path
    self.lock = lock
  }

  /// Gives the path up. The socket itself has been removed when it was closed (NIO does that).
  consuming func release() {
    // Removed while it is locked: whoever opened it before will see that it is gone, and try anew.
    unlink(path + ".lock")
  }

  /// Gives the socket that was just bound its group and its mode 0660.
  ///
  /// Until then its mode follows the umask. That gives nobody anything: connecting is not yet being
  /// allowed, which ``Authorization`` decides by the peer's credentials.
  static func settle(path: String, group: UInt32?) throws(WebError) {
    if let group, chown(path, uid_t.max, group) != 0 {
      throw WebError(
        code: .system, message: "cannot give \(path) to group \(group): \(lastError())")
    }
    guard chmod(path, 0o660) == 0 else {
      throw WebError(code: .system, message: "cannot set the mode of \(path): \(lastError())")
    }
  }

  private static func lock(_ lockPath: String, for path: String) throws(WebError)
    -> OwnedFileDescriptor
  {
    while true {
      let number = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard number >= 0 else {
        throw WebError(code: .system, message: "cannot create \(lockPath): \(lastError())")
      }
      let lock = OwnedFileDescriptor(owning: number)
      guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
        guard errno == EWOULDBLOCK else {
          throw WebError(code: .system, message: "cannot lock \(lockPath): \(lastError())")
        }
        throw inUse(path)
      }
      // The holder before us may have removed the file between our open and our lock.
      var held = stat()
      var named = stat()
      if fstat(number, &held) == 0, lstat(lockPath, &named) == 0, held.st_ino == named.st_ino,
        held.st_dev == named.st_dev
      {
        return lock
      }
    }
  }

  private static func checkNobodyListens(at path: String) throws(WebError) {
    var status = stat()
    guard lstat(path, &status) == 0 else {
      guard errno == ENOENT else {
        throw WebError(code: .system, message: "cannot look at \(path): \(lastError())")
      }
      return
    }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw WebError(code: .invalidPath, message: "\(path) exists and is not a socket")
    }
    // A daemon without our lock (a copy of this one in another mount, say) still answers.
    let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard number >= 0 else {
      throw WebError(code: .system, message: "cannot make a socket: \(lastError())")
    }
    let probe = OwnedFileDescriptor(owning: number)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(probe.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // EAGAIN: somebody listens, and his queue is full.
    if result == 0 || errno == EAGAIN { throw inUse(path) }
  }

  private static func inUse(_ path: String) -> WebError {
    WebError(
      code: .inUse,
      message: "another daemon listens on \(path); stop it, or give this one a path of its own")
  }
}

private func lastError() -> Errno { Errno(rawValue: errno) }
