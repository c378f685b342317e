import CLinux
import Glibc

/// Unix stream sockets by path. Paths may be longer than the 107 bytes of unix(7).
public enum UnixListener {
  /// A listening socket, close-on-exec and non-blocking.
  ///
  /// An abandoned socket file at the path is replaced. A socket that is still listened on, and a file of
  /// another kind, are errors (EADDRINUSE, EEXIST). The file is not removed when the descriptor closes.
  ///
  /// - Parameter mode: the file's permission bits, exactly, whatever the umask is.
  public static func bind(path: String, mode: mode_t) throws(LinuxError) -> OwnedFileDescriptor {
    let place = try UnixSocketPath(path)
    let socket = OwnedFileDescriptor(owning: try checked("socket", dormouse_unix_stream()))
    try place.listen(socket, mode: mode)
    return socket
  }

  /// A connected socket, close-on-exec and non-blocking.
  ///
  /// - Throws: ``LinuxError/Code/notFound`` without a socket there, ``LinuxError/Code/gone`` when nobody
  ///   listens on it, ``LinuxError/Code/exhausted`` when its queue of connections is full.
  public static func connect(path: String) throws(LinuxError) -> OwnedFileDescriptor {
    let place = try UnixSocketPath(path)
    let socket = OwnedFileDescriptor(owning: try checked("socket", dormouse_unix_stream()))
    try place.connect(socket)
    return socket
  }
}
