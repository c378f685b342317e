import LinuxProcess

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
}
