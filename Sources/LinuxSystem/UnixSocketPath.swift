import CLinux
import Glibc
import SystemPackage

/// A socket's place in the file system, however long its path is.
///
/// A Unix address holds at most 107 bytes of path (unix(7)). For longer ones the directory is opened, and
/// the socket is addressed as /proc/self/fd/DIRECTORY/NAME.
struct UnixSocketPath: ~Copyable {
  private let path: String
  private let name: String
  /// What goes into the socket address: the path, or its short cut through the open directory.
  private let address: String
  private let directory: OwnedFileDescriptor

  init(_ path: String) throws(LinuxError) {
    let parts = FilePath(path)
    guard let name = parts.lastComponent, name.kind == .regular else {
      throw LinuxError(code: .malformed, message: "\"\(path)\" cannot be the path of a socket")
    }
    let parent = parts.removingLastComponent()
    let parentPath = parent.isEmpty ? "." : parent.string
    let directory = OwnedFileDescriptor(
      owning: try checked(
        "open the directory \(parentPath)", dormouse_open_directory(parentPath)))
    let address =
      path.utf8.count <= Self.maximumBytes
      ? path : "/proc/self/fd/\(directory.rawValue)/\(name.string)"
    guard address.utf8.count <= Self.maximumBytes else {
      throw LinuxError(
        code: .malformed,
        message: "the name of the socket \(path) is too long; choose one of at most 80 bytes")
    }
    self.path = path
    self.name = name.string
    self.address = address
    self.directory = directory
  }

  private static let maximumBytes = 107

  /// Binds the socket and lets it listen. Only an abandoned socket is replaced; a file of another kind, or
  /// a socket that somebody listens on, is an error (EEXIST, EADDRINUSE).
  borrowing func listen(_ socket: borrowing OwnedFileDescriptor, mode: mode_t) throws(LinuxError) {
    try removeAbandonedSocket()
    // The new file takes its mode from the socket, less the umask: it is never wider than asked for, not
    // even for the moment before chmod.
    try checked("set the mode of a socket", fchmod(socket.rawValue, mode))
    try checked("bind \(path)", dormouse_unix_bind(socket.rawValue, address))
    try checked("set the mode of \(path)", fchmodat(directory.rawValue, name, mode, 0))
    try checked("listen on \(path)", Glibc.listen(socket.rawValue, 128))
  }

  borrowing func connect(_ socket: borrowing OwnedFileDescriptor) throws(LinuxError) {
    try checked("connect to \(path)", dormouse_unix_connect(socket.rawValue, address))
  }

  private borrowing func removeAbandonedSocket() throws(LinuxError) {
    var status = stat()
    if fstatat(directory.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) != 0 {
      return
    }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw LinuxError(
        code: .system, message: "\(path) exists and is not a socket: it was left alone",
        errno: .fileExists)
    }
    let probe = OwnedFileDescriptor(owning: try checked("socket", dormouse_unix_stream()))
    do throws(Errno) {
      try checked(dormouse_unix_connect(probe.rawValue, address))
    } catch .connectionRefused {
      try checked("remove the abandoned socket \(path)", unlinkat(directory.rawValue, name, 0))
      return
    } catch {
      // A full queue, another socket type, no permission: none of these says that nobody listens.
    }
    throw LinuxError(
      code: .system, message: "another process listens on \(path)", errno: .addressInUse)
  }
}
