import CLinux
import Glibc
public import LinuxSystem

/// A virtual Ethernet interface whose wire is a file descriptor
/// (Documentation/networking/tuntap.rst): what the host sends out of the interface is read from the
/// descriptor, one frame per read, and what is written to it the host receives from the interface.
///
/// Unless persistent, the interface exists as long as any process holds a descriptor of it, and
/// goes with the last one: a virtual machine's tap is cleaned up by the machine's death, however it
/// dies.
public struct Tap: ~Copyable, Sendable {
  /// The interface's name at the time of opening.
  public let name: String
  /// Reads and writes frames; non-blocking, close-on-exec.
  public let descriptor: OwnedFileDescriptor

  private init(name: String, descriptor: consuming OwnedFileDescriptor) {
    self.name = name
    self.descriptor = descriptor
  }

  /// Takes a descriptor of a tap that was opened elsewhere, and asks the kernel for its name.
  ///
  /// Fails with `EBADFD` if the interface has been deleted, and with `ENOTTY` or `EINVAL` if the
  /// descriptor is no tap's.
  public init(adopting descriptor: consuming OwnedFileDescriptor) throws(LinuxError) {
    var bytes = [CChar](repeating: 0, count: 16)
    var isTap: CInt = 0
    let operation = "ask descriptor \(descriptor.rawValue) for its tap"
    try checked(operation, dormouse_tap_name(descriptor.rawValue, &bytes, &isTap))
    guard isTap != 0 else { throw LinuxError(operation, .invalidArgument) }
    self.init(
      name: String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self),
      descriptor: descriptor)
  }

  /// Makes a tap in the calling thread's network namespace, down at first.
  ///
  /// - Parameters:
  ///   - name: 1 to 15 bytes
  ///   - persistent: the interface outlives its descriptors, and an existing one of that name is
  ///     attached to; otherwise it must be new (`EBUSY` if the name is taken)
  ///   - virtioHeader: each frame is preceded by a `virtio_net_hdr`, which lets frames pass with
  ///     segmentation and checksums left to do; without it they come complete
  ///   - owner: the user who may attach to a persistent tap without privilege
  public static func open(
    named name: String, persistent: Bool = false, virtioHeader: Bool = false,
    owner: UInt32? = nil
  ) throws(LinuxError) -> Tap {
    let name = try validInterfaceName(name)
    let operation = "open tap \(name)"
    let descriptor = try openTunnelDevice()
    let number = descriptor.rawValue
    let options =
      (virtioHeader ? DORMOUSE_TAP_VIRTIO_HEADER : 0) | (persistent ? 0 : DORMOUSE_TAP_EXCLUSIVE)
    try checked(operation, dormouse_tap_attach(number, name, UInt32(options)))
    if persistent { try checked(operation, dormouse_tap_set_persistent(number, 1)) }
    if let owner { try checked(operation, dormouse_tap_set_owner(number, owner)) }
    return Tap(name: name, descriptor: descriptor)
  }

  /// Deletes a persistent tap that no descriptor is attached to; does nothing if there is none of
  /// that name. A tap in use is not deleted (`EBUSY`).
  public static func delete(named name: String) throws(LinuxError) {
    let netlink = try RouteNetlink()
    guard try netlink.linkIndex(named: name) != nil else { return }
    let operation = "delete tap \(name)"
    let descriptor = try openTunnelDevice()
    try checked(operation, dormouse_tap_attach(descriptor.rawValue, name, 0))
    try checked(operation, dormouse_tap_set_persistent(descriptor.rawValue, 0))
  }

  /// Says which unfinished work (`TUN_F_…`) the reader accepts in frames: 0 makes the kernel
  /// segment and checksum all that it delivers. Only useful with a virtio header; a new tap accepts
  /// none.
  public borrowing func setOffloads(_ offloads: UInt32) throws(LinuxError) {
    try checked(
      "set the offloads of tap \(name)",
      dormouse_tap_set_offloads(descriptor.rawValue, offloads))
  }

  /// Gives the descriptor away, for instance to the process that reads it.
  public consuming func takeDescriptor() -> OwnedFileDescriptor {
    descriptor
  }

  private static func openTunnelDevice() throws(LinuxError) -> OwnedFileDescriptor {
    let path = "/dev/net/tun"
    return OwnedFileDescriptor(
      owning: try checked("open \(path)", dormouse_open(path, O_RDWR | O_NONBLOCK, 0)))
  }
}
