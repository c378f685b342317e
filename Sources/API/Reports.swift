public import FoundationEssentials

/// What a sleep gave back to the host, measured when the VM had fallen asleep.
public struct SleepReport: Codable, Sendable, Hashable {
  /// When it was asleep.
  public var since: Date
  /// Guest RAM that was resident before and no longer is.
  public var releasedBytes: UInt64
  /// Guest RAM that is still resident.
  public var residentBytes: UInt64
  /// Guest RAM that this sleep has put into swap.
  public var swapBytes: UInt64
  /// What the host gained: the released bytes of guest and QEMU minus what a zram or zswap pool grew by.
  /// Negative when sleeping cost memory.
  public var netGainBytes: Int64
  /// Guest RAM that was resident before.
  public var touchedBytes: UInt64
  /// Memory of QEMU itself, beside the guest's RAM, that is no longer resident. Absent until the VM has
  /// slept for so long that this is paged out, too.
  public var qemuReleasedBytes: UInt64?
  /// What the whole QEMU process still has resident (PSS: pages shared with other processes are divided).
  /// Absent as long as ``qemuReleasedBytes``.
  public var processResidentBytes: UInt64?
  /// From the first step to asleep.
  public var durationSeconds: Double
  /// What answers for the VM's addresses: `sentry`.
  public var proxy: String

  /// A report from its parts.
  public init(
    since: Date, releasedBytes: UInt64, residentBytes: UInt64, swapBytes: UInt64,
    netGainBytes: Int64, touchedBytes: UInt64, qemuReleasedBytes: UInt64? = nil,
    processResidentBytes: UInt64? = nil, durationSeconds: Double, proxy: String = "sentry"
  ) {
    self.since = since
    self.releasedBytes = releasedBytes
    self.residentBytes = residentBytes
    self.swapBytes = swapBytes
    self.netGainBytes = netGainBytes
    self.touchedBytes = touchedBytes
    self.qemuReleasedBytes = qemuReleasedBytes
    self.processResidentBytes = processResidentBytes
    self.durationSeconds = durationSeconds
    self.proxy = proxy
  }
}

/// How a wake went.
public struct WakeReport: Codable, Sendable, Hashable {
  /// When the guest's processors went on.
  public var at: Date
  /// What woke it: `order`, `payload`, `syn`, `udp` and the like.
  public var reason: String
  /// The flow that woke it ("tcp 10.0.0.9:51234 > 10.0.0.2:22"); absent when none did.
  public var flow: String?
  /// From the first frame that asked for the guest to the order to go on; absent when none did.
  public var firstFrameToContinueSeconds: Double?
  /// QEMU's time to carry out the order to go on.
  public var continueSeconds: Double
  /// Frames that were held and replayed into the guest.
  public var heldFrames: Int
  /// From the decision to the last step: detour removed, held frames delivered.
  public var totalSeconds: Double
  /// Whether the guest's wall clock was set to the right time.
  public var clockStepped: Bool
  /// Memory of guest and QEMU that was read back ahead of its use.
  public var prefetchedBytes: UInt64

  /// A report from its parts.
  public init(
    at: Date, reason: String, flow: String? = nil, firstFrameToContinueSeconds: Double? = nil,
    continueSeconds: Double, heldFrames: Int, totalSeconds: Double, clockStepped: Bool,
    prefetchedBytes: UInt64
  ) {
    self.at = at
    self.reason = reason
    self.flow = flow
    self.firstFrameToContinueSeconds = firstFrameToContinueSeconds
    self.continueSeconds = continueSeconds
    self.heldFrames = heldFrames
    self.totalSeconds = totalSeconds
    self.clockStepped = clockStepped
    self.prefetchedBytes = prefetchedBytes
  }
}
