public import API
public import FoundationEssentials
import GRDB

/// What can be read and written within one transaction of the ``Inventory``. Valid only inside the
/// body that it was given to.
public struct InventoryTransaction {
  let database: Database

  // MARK: Virtual machines

  /// All records, by name.
  public func records() throws -> [VirtualMachineRecord] {
    try VirtualMachineRecord.order(sql: "name").fetchAll(database)
  }

  /// The record of one VM; nil when there is none.
  public func record(_ name: String) throws -> VirtualMachineRecord? {
    try VirtualMachineRecord.fetchOne(database, key: name)
  }

  /// Adds a VM. Throws `.constraint` when its name or uid is taken, or its MAC address on its bridge.
  public func insert(_ record: VirtualMachineRecord) throws {
    do {
      try record.insert(database)
    } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
      throw InventoryError(
        code: .constraint,
        message:
          "\"\(record.name)\" cannot be added: its name, its uid, or its MAC address on its bridge is "
          + "in use",
        cause: error)
    }
  }

  /// Changes a VM's record and gives back the new one. The name must stay. Throws `.notFound`.
  @discardableResult
  public func update(
    _ name: String, _ change: (inout VirtualMachineRecord) throws -> Void
  ) throws -> VirtualMachineRecord {
    guard var record = try record(name) else { throw Self.unknown(name) }
    try change(&record)
    guard record.name == name else {
      throw InventoryError(code: .constraint, message: "the name of \"\(name)\" cannot be changed")
    }
    try record.update(database)
    return record
  }

  /// Removes a VM and its current step. Does nothing when there is none.
  public func delete(_ name: String) throws {
    try VirtualMachineRecord.deleteOne(database, key: name)
  }

  // MARK: Settings of the host

  /// What is set under a name; nil when nothing is.
  public func setting(_ name: String) throws -> Data? {
    try Data.fetchOne(database, sql: "SELECT value FROM setting WHERE name = ?", arguments: [name])
  }

  /// Sets what is meant by a name from now on.
  public func setSetting(_ name: String, _ value: Data) throws {
    try database.execute(
      sql: "INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", arguments: [name, value])
  }

  // MARK: Journal

  /// Writes down the first step of a transition and gives back the unfinished step that it takes the
  /// place of, if there is one: waking must be possible from the middle of anything.
  /// Throws `.notFound` when there is no such VM.
  @discardableResult
  public func begin(
    _ transition: JournalEntry.Transition, of name: String, step: String, payload: Data? = nil
  ) throws -> JournalEntry? {
    guard try record(name) != nil else { throw Self.unknown(name) }
    let superseded = try currentStep(name)
    try write(
      JournalEntry(
        virtualMachine: name, transition: transition, step: step, at: Date(), payload: payload))
    return superseded
  }

  /// Writes down the next step of the transition that is under way. Throws `.notFound` when none is.
  public func advance(_ name: String, to step: String, payload: Data? = nil) throws {
    guard var entry = try currentStep(name) else {
      throw InventoryError(
        code: .notFound, message: "\"\(name)\" is in no transition: step \(step) cannot follow")
    }
    entry.step = step
    entry.at = Date()
    entry.payload = payload
    try write(entry)
  }

  /// Writes down that the transition is over, and how. Does nothing when none is under way.
  public func finish(_ name: String, outcome: String = "done") throws {
    guard var entry = try currentStep(name) else { return }
    entry.step = outcome
    entry.at = Date()
    entry.payload = nil
    try JournalEntry.deleteOne(database, key: name)
    try remember(entry)
  }

  /// The step that a VM is at; nil when it is in no transition.
  public func currentStep(_ name: String) throws -> JournalEntry? {
    try JournalEntry.fetchOne(database, key: name)
  }

  /// The steps of all VMs that are in a transition, by name.
  public func currentSteps() throws -> [JournalEntry] {
    try JournalEntry.order(sql: "virtualMachine").fetchAll(database)
  }

  /// The last steps, newest first; of one VM or of all.
  public func history(_ name: String? = nil, limit: Int = Inventory.historyLimit) throws
    -> [JournalEntry]
  {
    try JournalEntry.fetchAll(
      database,
      sql: """
        SELECT * FROM journalHistory WHERE ?1 IS NULL OR virtualMachine = ?1
        ORDER BY id DESC LIMIT ?2
        """, arguments: [name, limit])
  }

  private func write(_ entry: JournalEntry) throws {
    try entry.upsert(database)
    try remember(entry)
  }

  private func remember(_ entry: JournalEntry) throws {
    try database.execute(
      sql: """
        INSERT INTO journalHistory (virtualMachine, transition, step, at, payload)
        VALUES (?, ?, ?, ?, ?)
        """,
      arguments: [
        entry.virtualMachine, entry.transition.rawValue, entry.step, entry.at, entry.payload,
      ])
    try database.execute(
      sql: "DELETE FROM journalHistory WHERE id <= ?",
      arguments: [database.lastInsertedRowID - Int64(Inventory.historyLimit)])
  }

  // MARK: Events

  /// Adds an event and gives it its number.
  @discardableResult
  public func appendEvent(
    _ kind: Event.Kind, virtualMachine: String? = nil, message: String,
    details: [String: String] = [:], at: Date = Date()
  ) throws -> Event {
    let json = try APICoding.encoder().encode(details)
    try database.execute(
      sql: "INSERT INTO event (at, virtualMachine, kind, message, details) VALUES (?, ?, ?, ?, ?)",
      arguments: [
        at, virtualMachine, kind.rawValue, message, String(decoding: json, as: UTF8.self),
      ]
    )
    let sequence = database.lastInsertedRowID
    try database.execute(
      sql: "DELETE FROM event WHERE sequence <= ?",
      arguments: [sequence - Int64(Inventory.eventLimit)])
    return Event(
      sequence: Int(sequence), at: at, virtualMachine: virtualMachine, kind: kind, message: message,
      details: details)
  }

  /// The events with a number above `sequence`, oldest first, at most `limit`.
  public func events(after sequence: Int = 0, limit: Int = Inventory.eventLimit) throws -> [Event] {
    let rows = try Row.fetchCursor(
      database, sql: "SELECT * FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?",
      arguments: [sequence, limit])
    var events: [Event] = []
    while let row = try rows.next() {
      let json: String = row["details"]
      events.append(
        Event(
          sequence: row["sequence"], at: row["at"], virtualMachine: row["virtualMachine"],
          kind: Event.Kind(rawValue: row["kind"]), message: row["message"],
          details: try APICoding.decoder().decode([String: String].self, from: Data(json.utf8))))
    }
    return events
  }

  /// The number of the newest event; 0 before the first.
  public func lastEventSequence() throws -> Int {
    try Int.fetchOne(database, sql: "SELECT MAX(sequence) FROM event") ?? 0
  }

  private static func unknown(_ name: String) -> InventoryError {
    InventoryError(code: .notFound, message: "there is no virtual machine \"\(name)\"")
  }
}
