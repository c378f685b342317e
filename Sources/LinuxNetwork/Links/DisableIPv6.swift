import Glibc
public import LinuxSystem

/// Keeps the host's own IPv6 off an interface of the calling thread's network namespace: no
/// link-local address, no router solicitations, no answers (Documentation/networking/ip-sysctl.rst,
/// `disable_ipv6`). Frames that pass through the interface are not touched.
///
/// Fails where /proc/sys is read-only. A kernel without IPv6 has nothing to switch off, which is
/// success.
public func disableIPv6(onInterface name: String) throws(LinuxError) {
  let directory = "/proc/sys/net/ipv6/conf"
  let path = "\(directory)/\(try validInterfaceName(name))/disable_ipv6"
  do throws(LinuxError) {
    try KernelFile.write("1\n", to: path)
  } catch  where error.code == .notFound && access(directory, F_OK) != 0 {
    return
  }
}
