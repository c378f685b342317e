import CLinux
import Glibc

/// A network interface as the kernel described it at one moment.
public struct Link: Hashable, Sendable {
  /// What an interface has carried since it was made, as its counters tell.
  public struct Statistics: Hashable, Sendable {
    /// Received by the host: on a tap, what its reader's side wrote.
    public var receivedPackets: UInt64
    /// Sent by the host: on a tap, what its reader's side was given.
    public var sentPackets: UInt64
    /// In bytes, see ``receivedPackets``.
    public var receivedBytes: UInt64
    /// In bytes, see ``sentPackets``.
    public var sentBytes: UInt64
  }

  /// The number that the kernel knows the interface by; never used twice while the namespace lives,
  /// unless someone asks for it.
  public var index: CInt
  /// At most 15 bytes.
  public var name: String
  /// The largest payload of a frame, in bytes.
  public var mtu: Int
  /// nil on an interface without an Ethernet-like address.
  public var macAddress: HardwareAddress?
  /// The bridge (or bond) that the interface is a port of.
  public var master: CInt?
  /// Whether the administrator switched it on; it may yet lack a carrier.
  public var isUp: Bool
  /// Whether it is up and has a carrier. A tap has one while a descriptor is attached to it.
  public var isRunning: Bool
  /// Counters since the interface was made.
  public var statistics: Statistics

  /// nil for a message that is no link, or lacks what every link has.
  init?(_ message: NetlinkMessage) {
    // struct ifinfomsg: family, padding, type, index, flags, change.
    guard Int(message.type) == RTM_NEWLINK,
      let index = message.body.integer(at: 4, as: Int32.self),
      let flags = message.body.integer(at: 8, as: UInt32.self)
    else { return nil }
    let attributes = message.attributes(after: MemoryLayout<ifinfomsg>.size)
    guard let name = attributes.string(IFLA_IFNAME) else { return nil }
    self.index = index
    self.name = name
    mtu = attributes[IFLA_MTU]?.integer(at: 0, as: UInt32.self).map(Int.init) ?? 0
    macAddress = attributes[IFLA_ADDRESS].flatMap { HardwareAddress(bytes: $0) }
    master = attributes[IFLA_MASTER]?.integer(at: 0, as: Int32.self)
    isUp = flags & UInt32(IFF_UP) != 0
    isRunning = flags & UInt32(IFF_RUNNING) != 0
    // struct rtnl_link_stats64 begins with packets in and out, then bytes in and out.
    let counters = attributes[IFLA_STATS64] ?? []
    func counter(_ position: Int) -> UInt64 {
      counters.integer(at: 8 * position, as: UInt64.self) ?? 0
    }
    statistics = Statistics(
      receivedPackets: counter(0), sentPackets: counter(1), receivedBytes: counter(2),
      sentBytes: counter(3))
  }
}
