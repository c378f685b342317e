public import FoundationEssentials

/// The daemon and its host at a glance.
public struct HostStatus: Codable, Sendable, Hashable {
  /// The process that answers for sleeping VMs.
  public struct Sentry: Codable, Sendable, Hashable {
    /// What it is doing.
    public enum State: String, Codable, Sendable, Hashable {
      /// It answers.
      case running
      /// It is being started.
      case starting
      /// It does not answer: nothing is put to sleep.
      case lost
    }

    /// What it is doing.
    public var state: State
    /// Its process, while there is one.
    public var pid: Int32?

    /// A sentry from its parts.
    public init(state: State, pid: Int32? = nil) {
      self.state = state
      self.pid = pid
    }
  }

  /// The daemon's version.
  public var version: String
  /// The daemon's process.
  public var pid: Int32
  /// Since when the daemon runs.
  public var since: Date
  /// The host's memory (`MemTotal`).
  public var memoryTotalBytes: UInt64
  /// Memory that could be had without swapping (`MemAvailable`).
  public var memoryAvailableBytes: UInt64
  /// All swap areas together.
  public var swapTotalBytes: UInt64
  /// What is free of them.
  public var swapFreeBytes: UInt64
  /// Number of VMs in each state that at least one is in; keys are those of
  /// ``VirtualMachine/State``.
  public var virtualMachines: [String: Int]
  /// The process that answers for sleeping VMs.
  public var sentry: Sentry
  /// The number of the newest event, 0 before the first: follow events after this one to see only
  /// what is new.
  public var eventSequence: Int

  /// A status from its parts.
  public init(
    version: String = DormouseVersion.current, pid: Int32, since: Date, memoryTotalBytes: UInt64,
    memoryAvailableBytes: UInt64, swapTotalBytes: UInt64, swapFreeBytes: UInt64,
    virtualMachines: [String: Int], sentry: Sentry, eventSequence: Int
  ) {
    self.version = version
    self.pid = pid
    self.since = since
    self.memoryTotalBytes = memoryTotalBytes
    self.memoryAvailableBytes = memoryAvailableBytes
    self.swapTotalBytes = swapTotalBytes
    self.swapFreeBytes = swapFreeBytes
    self.virtualMachines = virtualMachines
    self.sentry = sentry
    self.eventSequence = eventSequence
  }
}

/// What `doctor` found out about the host.
public struct DoctorReport: Codable, Sendable, Hashable {
  /// One thing that was looked at.
  public struct Finding: Codable, Sendable, Hashable {
    /// How it looks.
    public enum Status: String, Codable, Sendable, Hashable {
      /// As it should be.
      case ok
      /// Works, but somebody should know.
      case warning
      /// Dormouse cannot do its work like this.
      case failure
    }

    /// What was looked at: a short stable name such as `swap`.
    public var check: String
    /// How it looks.
    public var status: Status
    /// What was found.
    public var message: String
    /// What to do about it.
    public var advice: String?

    /// A finding from its parts.
    public init(check: String, status: Status, message: String, advice: String? = nil) {
      self.check = check
      self.status = status
      self.message = message
      self.advice = advice
    }
  }

  /// All findings, in the order of the checks.
  public var findings: [Finding]
  /// Whether none of them is a failure.
  public var ok: Bool

  /// A report of the findings; ``ok`` follows from them.
  public init(findings: [Finding]) {
    self.findings = findings
    self.ok = !findings.contains { $0.status == .failure }
  }
}
