import CLinux

/// Who is at the other end of a Unix socket, as of its connect(2), listen(2) or socketpair(2)
/// (SO_PEERCRED of unix(7)).
public struct PeerCredentials: Hashable, Sendable {
  public let pid: Int32
  public let uid: UInt32
  public let gid: UInt32

  /// Asks the kernel about a connected Unix socket of any type.
  public init(of descriptor: CInt) throws(LinuxError) {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    try checked("get the peer's credentials", dormouse_unix_peer(descriptor, &pid, &uid, &gid))
    self.pid = pid
    self.uid = uid
    self.gid = gid
  }
}
