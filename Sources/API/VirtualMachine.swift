public import FoundationEssentials

/// A virtual machine as the daemon sees it now: what `list` and `show` print.
public struct VirtualMachine: Codable, Sendable, Hashable {
  /// What a virtual machine is doing.
  public enum State: String, Codable, Sendable, Hashable, CaseIterable {
    /// No QEMU runs for it.
    case stopped
    /// QEMU is being started.
    case starting
    /// It runs.
    case awake
    /// It is being put to sleep; activity still turns this round.
    case fallingAsleep
    /// Paused, paged out, with a proxy that answers for its addresses.
    case asleep
    /// It is being woken.
    case waking
    /// Its state is being written to a template; it stops then.
    case saving
    /// QEMU died, or what it is doing cannot be told. See ``VirtualMachine/lastFailure``.
    case failed
  }

  /// Unique on this host.
  public var name: String
  /// What it is doing.
  public var state: State
  /// Since when.
  public var stateSince: Date
  /// QEMU's process, while there is one.
  public var pid: Int32?
  /// Guest RAM in bytes.
  public var memoryBytes: UInt64
  /// Virtual processors.
  public var cpus: Int
  /// Its network interfaces.
  public var networks: [Network]
  /// QEMU's versioned machine type, frozen at the first boot; absent before it.
  public var machineType: String?
  /// `kvm` or `tcg`, while QEMU runs.
  public var accelerator: String?
  /// Seconds without activity after which it is put to sleep; absent: only by order.
  public var idleAfterSeconds: Double?
  /// What is read back after a wake.
  public var swapIn: SwapInMode
  /// What the present sleep gives back to the host; only while it is asleep.
  public var sleep: SleepReport?
  /// How the last wake went.
  public var lastWake: WakeReport?
  /// Times it fell asleep since it was created.
  public var sleeps: Int
  /// Times it was woken since it was created.
  public var wakes: Int
  /// The last thing that went wrong with it.
  public var lastFailure: Failure?
  /// Why it cannot be put to sleep now; empty when nothing stands in the way.
  public var obstacles: [String]
  /// The template from which it continues when it is started; absent when it boots.
  public var template: String?

  /// A virtual machine from its parts.
  public init(
    name: String, state: State, stateSince: Date, pid: Int32? = nil, memoryBytes: UInt64,
    cpus: Int, networks: [Network] = [], machineType: String? = nil, accelerator: String? = nil,
    idleAfterSeconds: Double? = nil, swapIn: SwapInMode = .lazy, sleep: SleepReport? = nil,
    lastWake: WakeReport? = nil,
    sleeps: Int = 0, wakes: Int = 0, lastFailure: Failure? = nil, obstacles: [String] = [],
    template: String? = nil
  ) {
    self.name = name
    self.state = state
    self.stateSince = stateSince
    self.pid = pid
    self.memoryBytes = memoryBytes
    self.cpus = cpus
    self.networks = networks
    self.machineType = machineType
    self.accelerator = accelerator
    self.idleAfterSeconds = idleAfterSeconds
    self.swapIn = swapIn
    self.sleep = sleep
    self.lastWake = lastWake
    self.sleeps = sleeps
    self.wakes = wakes
    self.lastFailure = lastFailure
    self.obstacles = obstacles
    self.template = template
  }
}

extension VirtualMachine {
  /// A network interface of the guest.
  public struct Network: Codable, Sendable, Hashable {
    /// The bridge that the tap is a port of.
    public var bridge: String
    /// The guest's address on it, lower case with colons.
    public var macAddress: String
    /// The tap in the daemon's network namespace, while there is one.
    public var tap: String?
    /// IPv4 and IPv6 addresses that were learned from the guest's own frames.
    public var addresses: [String]

    /// An interface from its parts.
    public init(bridge: String, macAddress: String, tap: String? = nil, addresses: [String] = []) {
      self.bridge = bridge
      self.macAddress = macAddress
      self.tap = tap
      self.addresses = addresses
    }
  }

  /// Something that went wrong.
  public struct Failure: Codable, Sendable, Hashable {
    /// The kind of failure.
    public var code: APIError.Code
    /// What was wrong.
    public var message: String
    /// When.
    public var at: Date

    /// A failure from its parts.
    public init(code: APIError.Code, message: String, at: Date) {
      self.code = code
      self.message = message
      self.at = at
    }
  }
}
