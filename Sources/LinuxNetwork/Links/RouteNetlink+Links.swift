import CLinux
import Glibc
public import LinuxSystem

extension RouteNetlink {
  /// The index of the interface of that name, or nil if there is none.
  public borrowing func linkIndex(named name: String) throws(LinuxError) -> CInt? {
    try link(named: name)?.index
  }

  /// The interface of that name, or nil if there is none.
  public borrowing func link(named name: String) throws(LinuxError) -> Link? {
    var request = NetlinkRequest(RTM_GETLINK, body: ifinfomsg())
    request.attribute(IFLA_IFNAME, string: try validInterfaceName(name))
    do throws(LinuxError) {
      return try socket.exchange(request, "looking up interface \(name)")
        .lazy.compactMap { Link($0) }.first
    } catch  where error.errno == .operationNotSupportedByDevice {
      return nil
    }
  }

  /// The interface of that index, or nil if there is none.
  public borrowing func link(_ index: CInt) throws(LinuxError) -> Link? {
    do throws(LinuxError) {
      return try socket.exchange(
        NetlinkRequest(RTM_GETLINK, body: header(index)), "looking up interface \(index)"
      ).lazy.compactMap { Link($0) }.first
    } catch  where error.errno == .operationNotSupportedByDevice {
      return nil
    }
  }

  /// All interfaces of the namespace.
  public borrowing func links() throws(LinuxError) -> [Link] {
    try socket.exchange(
      NetlinkRequest(RTM_GETLINK, flags: NLM_F_DUMP, body: ifinfomsg()), "listing interfaces"
    ).compactMap { Link($0) }
  }

  /// Switches an interface on or off.
  public borrowing func setUp(_ index: CInt, up: Bool) throws(LinuxError) {
    let flag = UInt32(IFF_UP)
    try socket.exchange(
      NetlinkRequest(RTM_NEWLINK, body: header(index, flags: up ? flag : 0, change: flag)),
      "setting interface \(index) \(up ? "up" : "down")")
  }

  /// Makes an interface do without ARP and neighbour discovery.
  public borrowing func setNoARP(_ index: CInt) throws(LinuxError) {
    let flag = UInt32(IFF_NOARP)
    try socket.exchange(
      NetlinkRequest(RTM_NEWLINK, body: header(index, flags: flag, change: flag)),
      "switching ARP off on interface \(index)")
  }

  /// Makes an interface a port of a bridge, or of none.
  public borrowing func setMaster(_ index: CInt, master: CInt?) throws(LinuxError) {
    var request = NetlinkRequest(RTM_NEWLINK, body: header(index))
    request.attribute(IFLA_MASTER, master ?? 0)
    try socket.exchange(request, "making interface \(index) a port of \(master ?? 0)")
  }

  /// Sets the largest payload of a frame, in bytes.
  public borrowing func setMTU(_ index: CInt, _ mtu: Int) throws(LinuxError) {
    var request = NetlinkRequest(RTM_NEWLINK, body: header(index))
    request.attribute(IFLA_MTU, UInt32(clamping: mtu))
    try socket.exchange(request, "setting the MTU of interface \(index) to \(mtu)")
  }

  /// Sets how many frames may wait: on a tap, in the queue that its descriptor reads (1000 at
  /// first).
  public borrowing func setTransmitQueueLength(
    _ index: CInt, _ frames: Int
  ) throws(LinuxError) {
    var request = NetlinkRequest(RTM_NEWLINK, body: header(index))
    request.attribute(IFLA_TXQLEN, UInt32(clamping: frames))
    try socket.exchange(request, "setting the queue length of interface \(index) to \(frames)")
  }

  /// Sets the interface's own link-layer address.
  public borrowing func setMACAddress(
    _ index: CInt, _ address: HardwareAddress
  ) throws(LinuxError) {
    var request = NetlinkRequest(RTM_NEWLINK, body: header(index))
    request.attribute(IFLA_ADDRESS, bytes: address.bytes)
    try socket.exchange(request, "setting the address of interface \(index) to \(address)")
  }

  /// Deletes an interface that software made (a bridge, a veth with its peer, a tap).
  public borrowing func deleteLink(_ index: CInt) throws(LinuxError) {
    try socket.exchange(
      NetlinkRequest(RTM_DELLINK, body: header(index)), "deleting interface \(index)")
  }

  /// Makes a bridge without spanning tree, so that its ports forward at once. It is down at first.
  ///
  /// - Parameter multicastSnooping: the bridge learns which ports want which groups, as bridges do
  ///   by default; it then speaks IGMP and MLD itself.
  /// - Parameter ageing: for how long it remembers where an address was seen; nil for the kernel's five
  ///   minutes.
  public borrowing func createBridge(
    named name: String, multicastSnooping: Bool = true, ageing: Duration? = nil
  ) throws(LinuxError) {
    var request = creation(of: try validInterfaceName(name))
    request.nested(IFLA_LINKINFO) { information in
      information.attribute(IFLA_INFO_KIND, string: "bridge")
      information.nested(IFLA_INFO_DATA) { data in
        data.attribute(IFLA_BR_MCAST_SNOOPING, UInt8(multicastSnooping ? 1 : 0))
        if let ageing {
          // In the kernel's clock_t, hundredths of a second.
          data.attribute(IFLA_BR_AGEING_TIME, UInt32(min(max(ageing / .milliseconds(10), 0), 1e9)))
        }
      }
    }
    try socket.exchange(request, "create bridge \(name)")
  }

  /// Makes two interfaces joined like the ends of a cable (veth(4)). They are down at first.
  ///
  /// - Parameter peerNamespace: a descriptor of the network namespace that the peer is made in;
  ///   without one both ends are here.
  public borrowing func createVethPair(
    named name: String, peer: String, peerNamespace: CInt? = nil
  ) throws(LinuxError) {
    var request = creation(of: try validInterfaceName(name))
    let peer = try validInterfaceName(peer)
    request.nested(IFLA_LINKINFO) { information in
      information.attribute(IFLA_INFO_KIND, string: "veth")
      information.nested(IFLA_INFO_DATA) { data in
        data.nested(VETH_INFO_PEER) { other in
          other.append(ifinfomsg())
          other.attribute(IFLA_IFNAME, string: peer)
          if let peerNamespace { other.attribute(IFLA_NET_NS_FD, peerNamespace) }
        }
      }
    }
    try socket.exchange(request, "creating veth pair \(name) and \(peer)")
  }

  private func creation(of name: String) -> NetlinkRequest {
    var request = NetlinkRequest(
      RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, body: ifinfomsg())
    request.attribute(IFLA_IFNAME, string: name)
    return request
  }

  private func header(_ index: CInt, flags: UInt32 = 0, change: UInt32 = 0) -> ifinfomsg {
    var header = ifinfomsg()
    header.ifi_index = index
    header.ifi_flags = flags
    header.ifi_change = change
    return header
  }
}

/// The name itself if the kernel would take it (dev_valid_name): 1 to 15 bytes, no slash, colon or
/// space, and not a name of directories. It also becomes part of paths below /proc/sys.
func validInterfaceName(_ name: String) throws(LinuxError) -> String {
  let bytes = name.utf8
  let forbidden = bytes.contains { $0 <= 0x20 || $0 == 0x7f || $0 == 0x2f || $0 == 0x3a }
  guard (1...15).contains(bytes.count), !forbidden, name != ".", name != ".." else {
    throw LinuxError("using \"\(name)\" as the name of an interface", .invalidArgument)
  }
  return name
}
