/// What the daemon and the sentry say to each other: one JSON object per message of a sequenced-packet
/// Unix socket, descriptors travelling beside it (`SCM_RIGHTS`, unix(7)).
///
/// The daemon asks, the sentry answers with the request's `id`; what the sentry says unasked is a
/// ``SentryNotice``. An answer that is too long for one message comes in several. Both ends come from one build and one host, but a sentry outlives the daemon that
/// started it, so the first message states the version.
public enum SentryProtocol {
  /// Raised whenever a message changes its meaning.
  public static let version = 3
  /// The longest message either side accepts, in bytes.
  public static let maximumMessageBytes = 64 * 1024
  /// Messages that one answer may consist of.
  public static let maximumParts = 4096
  /// Descriptors that come with ``SentryRequest/Body/guardMachine(_:)``.
  public static let descriptorsPerMachine = 4
  /// How often the daemon says that it is there, in seconds.
  public static let heartbeatSeconds = 1
  /// How long the sentry waits for a sign of the daemon before it wakes every VM, in seconds.
  public static let daemonAbsenceLimitSeconds = 10
}

/// A request of the daemon.
public struct SentryRequest: Codable, Sendable {
  /// Matches the answer to the request; chosen by the daemon, never zero.
  public let id: UInt64
  public let body: Body

  public init(id: UInt64, body: Body) {
    self.id = id
    self.body = body
  }

  public enum Body: Codable, Sendable {
    /// Opens the conversation; answered by ``SentryReply/Body/welcome(pid:_:)``. With one descriptor: a
    /// packet socket that injects on any interface of the namespace, for all machines.
    case hello(version: Int)
    /// Says that the daemon lives.
    case heartbeat
    /// Gives a machine into the sentry's care. Descriptors, in this order: a connected QMP monitor, the
    /// memory of the cursors, the detour tap, the learning packet socket.
    case guardMachine(GuardedMachine)
    /// From now on, hold every frame that the detour delivers.
    case arm(name: String)
    /// The VM is paused: look at the last frames, then answer for it, or refuse.
    case commit(name: String)
    /// Wake the VM, whatever state it is in; also the way to undo ``arm(name:)`` and ``commit(name:)``.
    case wake(name: String, cause: WakeCause)
    /// What wakes the VM from now on, whatever it does at the moment.
    case rules(name: String, [Rule])
    /// What wakes VMs from now on where their own rules say nothing.
    case hostRules([Rule])
    /// Which ports the guest uses, for the sleep that ``arm(name:)`` has begun to prepare.
    case ports(name: String, UsedPorts)
    /// What the traffic of these VMs looks like; those that the sentry does not know are left out.
    case traffic(names: [String])
    /// Where a daemon that has started anew finds what it may take a copy of (pidfd_getfd(2), proc(5)).
    case lend(name: String)
    /// The VM is gone.
    case forget(name: String)
  }
}

/// A machine in the sentry's care.
public struct GuardedMachine: Codable, Sendable {
  public let name: String
  /// Index of the VM's tap, where the detour's filter hangs.
  public let tapIndex: Int32
  /// MAC address of the guest, as text.
  public let macAddress: String
  /// MTU of the VM's tap, in bytes.
  public let mtu: Int
  /// Whether the machine is asleep behind an engaged detour: a new sentry takes over from one that died.
  public let asleep: Bool
  /// The VM's own rules.
  public let rules: [Rule]

  public init(
    name: String, tapIndex: Int32, macAddress: String, mtu: Int, asleep: Bool, rules: [Rule]
  ) {
    self.name = name
    self.tapIndex = tapIndex
    self.macAddress = macAddress
    self.mtu = mtu
    self.asleep = asleep
    self.rules = rules
  }
}

/// What the sentry says: an answer (`id` of the request) or a notice (`id` zero).
public struct SentryReply: Codable, Sendable {
  public let id: UInt64
  public let body: Body
  /// Whether further parts of this answer follow.
  public let more: Bool

  public init(id: UInt64, body: Body, more: Bool = false) {
    self.id = id
    self.body = body
    self.more = more
  }

  public enum Body: Codable, Sendable {
    case done
    /// The sentry's process and the machines in its care; may come in parts.
    case welcome(pid: Int32, [GuardStatus])
    /// May come in parts.
    case traffic([TrafficReport])
    case lent(LentDescriptors)
    case awake(WakeOutcome)
    /// The request could not be carried out; the VM is as it was before.
    case refused(code: Refusal, message: String)
    case notice(SentryNotice)

    /// An answer with what its next part adds; nil for two that do not belong together.
    public func joined(with next: Body) -> Body? {
      switch (self, next) {
      case (.welcome(let pid, let first), .welcome(_, let second)):
        .welcome(pid: pid, first + second)
      case (.traffic(let first), .traffic(let second)): .traffic(first + second)
      default: nil
      }
    }
  }

  public enum Refusal: String, Codable, Sendable {
    /// The daemon speaks another version.
    case version
    /// No such machine.
    case unknownMachine
    /// The request does not fit the machine's phase.
    case wrongPhase
    /// Frames came in that must wake the VM, or its flows are not quiet.
    case activity
    /// The machine's descriptors, cursors or rules are unusable.
    case unusable
    /// QEMU does not continue the VM.
    case monitor
  }
}

/// What the sentry reports unasked.
public enum SentryNotice: Codable, Sendable {
  /// Traffic, or the loss of the daemon or of the detour, is waking the VM: `cont` has been sent.
  case waking(name: String, cause: WakeCause, flow: String?)
  /// The VM is awake again.
  case awake(name: String, WakeOutcome)
  /// QEMU does not answer on the sentry's monitor; the sentry goes on trying and holds the frames.
  case monitorSilent(name: String, message: String)
  /// QEMU has closed the monitor, or says what is not QMP: the sentry has let the VM go. Mostly QEMU has
  /// ended.
  case monitorClosed(name: String)

  /// The name of the machine that it is about.
  public var machine: String {
    switch self {
    case .waking(let name, _, _), .awake(let name, _), .monitorSilent(let name, _),
      .monitorClosed(let name):
      name
    }
  }
}

/// Where a machine stands, in the sentry's eyes.
public enum GuardPhase: String, Codable, Sendable {
  /// The VM runs; the sentry watches its traffic.
  case learning
  /// The detour is about to be, or has just been engaged; every frame is held.
  case holding
  /// The VM sleeps; the sentry answers for it.
  case answering
  /// `cont` has been sent.
  case waking
}

public struct GuardStatus: Codable, Sendable {
  public let name: String
  public let phase: GuardPhase

  public init(name: String, phase: GuardPhase) {
    self.name = name
    self.phase = phase
  }
}

/// How a wake went. Durations in seconds, on the sentry's monotonic clock.
public struct WakeOutcome: Codable, Sendable {
  public let cause: WakeCause
  /// The flow that woke the VM, as text.
  public let flow: String?
  /// From the first sight of the frame (or order) that woke the VM to `cont` being sent.
  public let firstFrameToContinueSeconds: Double
  /// From `cont` being sent to QEMU's answer.
  public let continueSeconds: Double
  /// From the first sight to the detour being gone and the last held frame replayed.
  public let totalSeconds: Double
  /// Frames that were held and replayed.
  public let heldFrames: Int
  /// Frames that found no room in the hold and were dropped.
  public let droppedFrames: Int
  /// Frames that the sentry answered while the VM slept.
  public let answeredFrames: Int

  public init(
    cause: WakeCause, flow: String?, firstFrameToContinueSeconds: Double,
    continueSeconds: Double, totalSeconds: Double, heldFrames: Int, droppedFrames: Int,
    answeredFrames: Int
  ) {
    self.cause = cause
    self.flow = flow
    self.firstFrameToContinueSeconds = firstFrameToContinueSeconds
    self.continueSeconds = continueSeconds
    self.totalSeconds = totalSeconds
    self.heldFrames = heldFrames
    self.droppedFrames = droppedFrames
    self.answeredFrames = answeredFrames
  }
}

/// Where a VM's kernel objects are in the sentry's process.
public struct LentDescriptors: Codable, Sendable {
  /// The mapping of the cursors, as in the names of /proc/PID/map_files: the sentry keeps no descriptor of
  /// their memory.
  public let cursors: Range<UInt64>
  /// The number of the detour tap's descriptor.
  public let detourTap: Int32

  public init(cursors: Range<UInt64>, detourTap: Int32) {
    self.cursors = cursors
    self.detourTap = detourTap
  }
}

/// What the sentry knows of a VM's traffic.
public struct TrafficReport: Codable, Sendable {
  /// The VM's name.
  public let name: String
  public let phase: GuardPhase
  /// Seconds since a frame that only the guest can answer went in or out.
  public let secondsSinceUse: Double
  /// Frames of use seen so far; grows only.
  public let framesOfUse: UInt64
  /// Why the VM's flows forbid sleep at this moment; empty when they do not.
  public let obstacles: [String]
  /// The guest's addresses, as text.
  public let addresses: [String]
  /// Frames answered since the VM fell asleep.
  public let answeredFrames: Int

  public init(
    name: String, phase: GuardPhase, secondsSinceUse: Double, framesOfUse: UInt64,
    obstacles: [String],
    addresses: [String], answeredFrames: Int
  ) {
    self.name = name
    self.phase = phase
    self.secondsSinceUse = secondsSinceUse
    self.framesOfUse = framesOfUse
    self.obstacles = obstacles
    self.addresses = addresses
    self.answeredFrames = answeredFrames
  }
}
