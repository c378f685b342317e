import Failpoints

/// Everything a daemon is told when it starts.
public struct DaemonConfiguration: Sendable {
  /// Where the inventory, the sockets of the VMs and their kernels live. One daemon at a time.
  public var stateDirectory: String
  /// QEMU's binary, a path.
  public var qemuBinary: String
  /// The sentry's binary.
  public var sentryBinary: String
  /// Name of the memory control group below which each VM gets one of its own.
  public var controlGroup: String
  /// Share of one processor that a VM may use on average and still count as idle, 0 to 1.
  public var idleProcessorShare: Double
  /// A file with the host's rules, which then alone changes them; nil: they are changed by order and kept
  /// in the inventory.
  public var rulesFile: String?
  /// When a sleeping VM's port counts as closed.
  public var closedPorts: ClosedPorts
  /// How long a VM has slept when QEMU's own memory is paged out as well.
  public var deepAfter: Duration
  /// At which rate all VMs of the host together are read back in the background.
  public var swapInBytesPerSecond: UInt64
  /// Where a test lets this process die; empty in earnest.
  public var failpoints: Failpoints

  public init(
    stateDirectory: String, qemuBinary: String, sentryBinary: String,
    controlGroup: String = "dormouse", idleProcessorShare: Double = 0.1,
    rulesFile: String? = nil, closedPorts: ClosedPorts = .exact,
    deepAfter: Duration = .seconds(10), swapInBytesPerSecond: UInt64 = 32 << 20,
    failpoints: Failpoints = Failpoints(nil)
  ) {
    self.stateDirectory = stateDirectory
    self.qemuBinary = qemuBinary
    self.sentryBinary = sentryBinary
    self.controlGroup = controlGroup
    self.idleProcessorShare = idleProcessorShare
    self.rulesFile = rulesFile
    self.closedPorts = closedPorts
    self.deepAfter = deepAfter
    self.swapInBytesPerSecond = swapInBytesPerSecond
    self.failpoints = failpoints
  }

  /// When a port of a sleeping VM is known to be closed, so that its sentry answers in the guest's stead.
  public enum ClosedPorts: String, Sendable, CaseIterable {
    /// When the guest has lately refused the same peer at the same port, and its agent says that nobody
    /// uses the port.
    case exact
    /// When the guest's agent says that nobody uses the port, and the guest has lately refused anybody in
    /// the same family anything. Wrong where a firewall in the guest refuses one and drops another.
    case trustAgent = "trust-agent"
    /// Never: every SYN wakes.
    case never
  }
}
