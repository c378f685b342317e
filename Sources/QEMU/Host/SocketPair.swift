import Glibc
import LinuxSystem

/// Two stream sockets that are connected to each other (socketpair(2)), close-on-exec.
struct SocketPair: ~Copyable {
  let ours: OwnedFileDescriptor
  let theirs: OwnedFileDescriptor

  /// - Parameter waiting: whether reading and writing wait, at both ends.
  init(waiting: Bool) throws(QEMUError) {
    var ends: [CInt] = [-1, -1]
    let flags = SOCK_CLOEXEC.rawValue | (waiting ? 0 : SOCK_NONBLOCK.rawValue)
    do throws(LinuxError) {
      try checked(
        "make a pair of sockets",
        socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | flags), 0, &ends))
    } catch {
      throw QEMUError(.host, error.message, cause: error)
    }
    ours = OwnedFileDescriptor(owning: ends[0])
    theirs = OwnedFileDescriptor(owning: ends[1])
  }

  /// Closes the other end: when the child that inherited it ends, ours says so.
  consuming func takeOurs() -> OwnedFileDescriptor { ours }
}
