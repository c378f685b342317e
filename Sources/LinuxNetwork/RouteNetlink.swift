public import LinuxSystem

/// The kernel's interface for links, addresses and traffic control (rtnetlink(7)), in the network
/// namespace of the thread that makes the value; it stays there.
///
/// Calls are synchronous and quick (they wait for the kernel's network lock only) and may come from
/// any thread. Errors carry the kernel's own explanation when it gives one.
public struct RouteNetlink: ~Copyable, Sendable {
  let socket: NetlinkSocket

  /// Opens a netlink socket in the calling thread's network namespace.
  public init() throws(LinuxError) {
    socket = try NetlinkSocket()
  }
}
