import CLinux
import Glibc
public import LinuxSystem

extension RouteNetlink {
  /// Gives an interface an IPv4 or IPv6 address with its on-link prefix, as `192.0.2.1/24` or
  /// `2001:db8::1/64`. IPv6 addresses are usable at once: no duplicate detection.
  public borrowing func addAddress(_ index: CInt, _ address: String) throws(LinuxError) {
    let parts = address.split(separator: "/", omittingEmptySubsequences: false)
    let family = address.contains(":") ? AF_INET6 : AF_INET
    let size = family == AF_INET6 ? 16 : 4
    var bytes = [UInt8](repeating: 0, count: size)
    guard parts.count == 2, let prefix = UInt8(parts[1]), Int(prefix) <= 8 * size,
      inet_pton(family, String(parts[0]), &bytes) == 1
    else {
      throw LinuxError("using \"\(address)\" as address and prefix length", .invalidArgument)
    }
    var header = ifaddrmsg()
    header.ifa_family = UInt8(family)
    header.ifa_prefixlen = prefix
    header.ifa_flags = family == AF_INET6 ? UInt8(IFA_F_NODAD) : 0
    header.ifa_index = UInt32(bitPattern: index)
    var request = NetlinkRequest(RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL, body: header)
    request.attribute(IFA_LOCAL, bytes: bytes)
    request.attribute(IFA_ADDRESS, bytes: bytes)
    try socket.exchange(request, "adding address \(address) to interface \(index)")
  }
}
