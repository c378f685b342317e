/// What somebody wants of a machine, before ``MachineDescription/freeze(_:capabilities:)`` checks it and
/// fills in what was left open.
public struct MachineRequest: Sendable, Hashable {
  /// Shown in process lists; letters, digits, `-`, `_` and `.`.
  public var name: String
  /// A whole number of MiB.
  public var memoryBytes: UInt64
  public var cpus: Int
  /// Nil for what works best on this host.
  public var accelerator: Accelerator?
  /// A model as QEMU's `-cpu` takes it, features included; nil for the accelerator's default.
  public var cpuModel: String?
  /// Boot this kernel instead of what is on the disks.
  public var kernel: DirectKernel?
  public var disks: [DiskDescription]
  public var interfaces: [NetworkInterfaceDescription]
  /// Names of virtio-serial ports that the host can connect to, beside the guest agent's.
  public var guestChannels: [String]

  public init(
    name: String, memoryBytes: UInt64, cpus: Int = 1, accelerator: Accelerator? = nil,
    cpuModel: String? = nil, kernel: DirectKernel? = nil, disks: [DiskDescription] = [],
    interfaces: [NetworkInterfaceDescription] = [], guestChannels: [String] = []
  ) {
    self.name = name
    self.memoryBytes = memoryBytes
    self.cpus = cpus
    self.accelerator = accelerator
    self.cpuModel = cpuModel
    self.kernel = kernel
    self.disks = disks
    self.interfaces = interfaces
    self.guestChannels = guestChannels
  }
}
