public import FoundationEssentials
import GRDB

/// One step of a transition, written down before it is done.
public struct JournalEntry: Codable, Sendable, Hashable {
  /// What a VM is on the way to.
  public struct Transition: RawRepresentable, Codable, Sendable, Hashable {
    /// The transition's name.
    public let rawValue: String

    /// A transition from its name.
    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    /// From stopped to awake.
    public static let start = Transition(rawValue: "start")
    /// To stopped.
    public static let stop = Transition(rawValue: "stop")
    /// From awake to asleep.
    public static let sleep = Transition(rawValue: "sleep")
    /// From asleep to awake.
    public static let wake = Transition(rawValue: "wake")
    /// From awake to stopped, with a template.
    public static let save = Transition(rawValue: "save")
  }

  /// Whose step.
  public var virtualMachine: String
  /// The transition that it belongs to.
  public var transition: Transition
  /// The step, by the daemon's name for it.
  public var step: String
  /// When it was written down.
  public var at: Date
  /// What is needed to finish or undo the step; opaque here.
  public var payload: Data?

  /// An entry from its parts.
  public init(
    virtualMachine: String, transition: Transition, step: String, at: Date, payload: Data? = nil
  ) {
    self.virtualMachine = virtualMachine
    self.transition = transition
    self.step = step
    self.at = at
    self.payload = payload
  }
}

extension JournalEntry.Transition: DatabaseValueConvertible {}

extension JournalEntry: FetchableRecord, PersistableRecord {
  /// The table of the steps that are under way: at most one row per VM.
  public static let databaseTableName = "journal"
}
