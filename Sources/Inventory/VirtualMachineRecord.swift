public import API
public import FoundationEssentials
import GRDB

/// What is remembered about a VM for as long as it exists.
public struct VirtualMachineRecord: Codable, Sendable, Hashable {
  /// What somebody asked for last. A VM that should run and does not is reported, never restarted.
  public enum DesiredState: String, Codable, Sendable, Hashable {
    /// Nothing should run.
    case stopped
    /// It should run, awake or asleep.
    case running
  }

  /// Unique on this host.
  public var name: String
  /// Never used twice on this host; interfaces, groups and files are named after it.
  public var uid: String
  /// The machine description, frozen at the first boot; nil before it.
  public var descriptionJSON: Data?
  /// The request that created it.
  public var requestJSON: Data
  /// The bridge of its interface, if it has one.
  public var bridge: String?
  /// The MAC address of its interface, if it has one.
  public var macAddress: String?
  /// Seconds without activity after which it is put to sleep; nil is never.
  public var idleAfterSeconds: Double?
  /// What is read back after a wake.
  public var swapIn: SwapInMode
  /// When it was created.
  public var createdAt: Date
  /// QEMU's process, while there should be one.
  public var processID: Int32?
  /// Start time of that process in clock ticks since boot (field 22 of `/proc/PID/stat`): tells it
  /// from a later one with the same number.
  public var processStartTime: UInt64?
  /// What somebody asked for last.
  public var desiredState: DesiredState
  /// What the daemon needs to find a running VM again; opaque here.
  public var runtimeJSON: Data?
  /// Its rules; opaque here, nil for none.
  public var rulesJSON: Data?

  /// A record from its parts.
  public init(
    name: String, uid: String, descriptionJSON: Data? = nil, requestJSON: Data,
    bridge: String? = nil, macAddress: String? = nil, idleAfterSeconds: Double? = nil,
    swapIn: SwapInMode = .lazy, createdAt: Date, processID: Int32? = nil,
    processStartTime: UInt64? = nil,
    desiredState: DesiredState = .stopped, runtimeJSON: Data? = nil, rulesJSON: Data? = nil
  ) {
    self.name = name
    self.uid = uid
    self.descriptionJSON = descriptionJSON
    self.requestJSON = requestJSON
    self.bridge = bridge
    self.macAddress = macAddress
    self.idleAfterSeconds = idleAfterSeconds
    self.swapIn = swapIn
    self.createdAt = createdAt
    self.processID = processID
    self.processStartTime = processStartTime
    self.desiredState = desiredState
    self.runtimeJSON = runtimeJSON
    self.rulesJSON = rulesJSON
  }
}

extension VirtualMachineRecord: FetchableRecord, PersistableRecord {
  /// The table's name.
  public static let databaseTableName = "virtualMachine"
}
