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
  /// Where a test lets this process die; empty in earnest.
  public var failpoints: Failpoints

  public init(
    stateDirectory: String, qemuBinary: String, sentryBinary: String,
    controlGroup: String = "dormouse", idleProcessorShare: Double = 0.1,
    failpoints: Failpoints = Failpoints(nil)
  ) {
    self.stateDirectory = stateDirectory
    self.qemuBinary = qemuBinary
    self.sentryBinary = sentryBinary
    self.controlGroup = controlGroup
    self.idleProcessorShare = idleProcessorShare
    self.failpoints = failpoints
  }
}
