import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Seamless

/// What a daemon must know to find a running VM's kernel objects again; kept with the VM's record.
struct RuntimeRecord: Codable, Hashable, Sendable {
  let process: ProcessIdentity
  /// Name of the VM's tap; its descriptor belongs to QEMU.
  let tap: String
  /// Name of the tap that leads to the sentry.
  let detourTap: String
  /// The number of the tap's descriptor in QEMU.
  let tapDescriptor: Int32
  /// Path of the VM's control group below the base, nil where none could be made.
  let controlGroup: String?

  /// The VM's detour as the kernel knows it now.
  ///
  /// - Throws: ``LinuxError/Code/notFound`` when the VM's tap has gone.
  func findDetour() throws -> Detour {
    // A VM without a network.
    guard !tap.isEmpty else { return Detour(machineTap: 0, detourTap: 0) }
    let netlink = try RouteNetlink()
    guard let machineTap = try netlink.linkIndex(named: tap) else {
      throw LinuxError(code: .notFound, message: "the tap \(tap) is not there")
    }
    // The detour tap has no name before the sentry guards the VM, and disappears with its last descriptor,
    // that is when daemon and sentry were both gone.
    let index = detourTap.isEmpty ? nil : try netlink.linkIndex(named: detourTap)
    return Detour(machineTap: machineTap, detourTap: index ?? 0)
  }
}
