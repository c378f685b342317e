public import LinuxNetwork
public import LinuxSystem

/// The traffic redirection that gives a sleeping VM's frames to its sentry.
///
/// Each VM has two taps in the daemon's network namespace. The VM's own tap is a port of the bridge, its
/// descriptor belongs to QEMU. The *detour tap* is no port of anything, its descriptor belongs to the
/// sentry. Two tc filters (tc-u32(8), tc-mirred(8)) join them:
///
/// ```
///   bridge ──> VM tap ──(egress filter, only while detoured)──> detour tap ──> sentry reads
///   bridge <── VM tap <──(ingress filter, always there)──────── detour tap <── sentry writes
/// ```
///
/// The egress filter is the whole switch: one request puts it up, one takes it down, and neither the
/// bridge nor anything beyond it sees a change. A tap rather than a veth with a packet socket at its end:
/// the host's own stack never sees the frames, one device does for two, frames come out segmented to the
/// MTU and with complete checksums because the tap has no offloads, and the queue of frames survives a
/// sentry that dies, as the daemon holds the same descriptor.
public struct Detour: Sendable, Hashable {
  /// Index of the VM's tap.
  public let machineTap: CInt
  /// Index of the detour tap.
  public let detourTap: CInt

  static let priority: UInt16 = 1

  public init(machineTap: CInt, detourTap: CInt) {
    self.machineTap = machineTap
    self.detourTap = detourTap
  }

  /// Whether there is a tap that frames could be taken from: a VM without a network has none.
  public var isPossible: Bool { machineTap != 0 }

  /// Lays the way from the sentry into the network, and the place where the switch will hang. Idempotent.
  public func prepare(_ netlink: borrowing RouteNetlink) throws(LinuxError) {
    try netlink.addClsact(detourTap)
    try netlink.addClsact(machineTap)
    if try netlink.redirects(on: detourTap, hook: .ingress).isEmpty {
      try netlink.addRedirect(
        from: detourTap, hook: .ingress, to: machineTap, delivery: .ingress,
        priority: Self.priority)
    }
  }

  /// From now on the guest's frames go to the sentry. Idempotent.
  public func engage(_ netlink: borrowing RouteNetlink) throws(LinuxError) {
    // Whoever has removed the switch may have removed what it hangs on, and the way back, as well.
    try prepare(netlink)
    if try isEngaged(netlink) { return }
    // A filter whose target is gone stays behind, and swallows every frame.
    try release(netlink)
    try netlink.addRedirect(
      from: machineTap, hook: .egress, to: detourTap, delivery: .egress, priority: Self.priority)
  }

  /// From now on the guest's frames go to the guest. Idempotent.
  public func release(_ netlink: borrowing RouteNetlink) throws(LinuxError) {
    try Self.release(machineTap: machineTap, netlink)
  }

  /// As ``release(_:)``, for who knows only the VM's tap.
  public static func release(
    machineTap: CInt, _ netlink: borrowing RouteNetlink
  ) throws(LinuxError) {
    _ = try netlink.deleteRedirect(from: machineTap, hook: .egress, priority: priority)
  }

  /// Whether the switch is up, as the kernel tells it.
  public func isEngaged(_ netlink: borrowing RouteNetlink) throws(LinuxError) -> Bool {
    try Self.isEngaged(machineTap: machineTap, netlink)
  }

  /// As ``isEngaged(_:)``, for who knows only the VM's tap.
  public static func isEngaged(
    machineTap: CInt, _ netlink: borrowing RouteNetlink
  ) throws(LinuxError) -> Bool {
    try netlink.redirects(on: machineTap, hook: .egress).contains {
      $0.priority == priority && $0.target != nil
    }
  }
}
