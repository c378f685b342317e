public import FoundationEssentials

/// Something that happened. `GET /v1/events` sends one per line.
public struct Event: Codable, Sendable, Hashable {
  /// What kind of thing happened. More may come.
  public struct Kind: RawRepresentable, Codable, Sendable, Hashable {
    /// The kind as it is written in JSON.
    public let rawValue: String

    /// A kind from its JSON text, known or not.
    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// A VM was created.
    public static let created = Kind(rawValue: "created")
    /// A VM was started.
    public static let started = Kind(rawValue: "started")
    /// A VM was stopped, by order or by its own shutdown.
    public static let stopped = Kind(rawValue: "stopped")
    /// A VM was deleted.
    public static let deleted = Kind(rawValue: "deleted")
    /// A VM has begun to fall asleep.
    public static let fallingAsleep = Kind(rawValue: "fallingAsleep")
    /// A VM is asleep.
    public static let asleep = Kind(rawValue: "asleep")
    /// A VM is being woken.
    public static let waking = Kind(rawValue: "waking")
    /// A VM runs again.
    public static let awake = Kind(rawValue: "awake")
    /// A sleep was refused before anything was done.
    public static let sleepRefused = Kind(rawValue: "sleepRefused")
    /// A sleep failed on the way; the VM runs.
    public static let sleepFailed = Kind(rawValue: "sleepFailed")
    /// A VM was saved as a template, and stopped.
    public static let saved = Kind(rawValue: "saved")
    /// A VM could not be saved.
    public static let saveFailed = Kind(rawValue: "saveFailed")
    /// A VM's QEMU ended when nobody had asked for it.
    public static let died = Kind(rawValue: "died")
    /// The sentry does not answer.
    public static let sentryLost = Kind(rawValue: "sentryLost")
    /// The sentry answers again.
    public static let sentryRestarted = Kind(rawValue: "sentryRestarted")
    /// The daemon found a VM in the middle of something and put it right.
    public static let recovered = Kind(rawValue: "recovered")
    /// Something that somebody should look at.
    public static let warning = Kind(rawValue: "warning")
  }

  /// Rises with each event of this daemon's state directory and is never used twice. There may be
  /// gaps.
  public var sequence: Int
  /// When.
  public var at: Date
  /// The VM that it happened to; absent when it concerns the host.
  public var virtualMachine: String?
  /// What kind of thing.
  public var kind: Kind
  /// What happened, for a person.
  public var message: String
  /// What happened, for a program.
  public var details: [String: String]

  /// An event from its parts.
  public init(
    sequence: Int, at: Date, virtualMachine: String? = nil, kind: Kind, message: String,
    details: [String: String] = [:]
  ) {
    self.sequence = sequence
    self.at = at
    self.virtualMachine = virtualMachine
    self.kind = kind
    self.message = message
    self.details = details
  }
}
