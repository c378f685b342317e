import Dispatch
import GRDB
import Synchronization

/// The daemon's memory: which VMs there are, which step of which transition each is in, and what
/// happened. One SQLite file in the state directory.
///
/// A write that has returned is on the disk (write-ahead log, `synchronous=FULL`), also after a loss
/// of power. A write that has thrown has changed nothing. Work is done on a queue of its own; no thread
/// of the caller waits in the kernel. Writes that come while the disk is busy with earlier ones share the
/// next transaction: a hundred machines that wake at once wait for the disk a few times, not hundreds.
/// Cancelling the calling task does not interrupt a write: undoing a step must be able to journal, too.
public final class Inventory: Sendable {
  /// Steps that the journal's history keeps.
  public static let historyLimit = 1000
  /// Events that are kept.
  public static let eventLimit = 10_000

  private static let openingQueue = DispatchQueue(label: "inventory.open")

  private let queue: DatabaseQueue
  private let waiting = Mutex<[WaitingWrite]>([])

  private init(queue: DatabaseQueue) {
    self.queue = queue
  }

  /// Opens the database at a path, creates it when there is none, and brings an older one up to date.
  /// Throws `.newerVersion` when a newer release has written it, `.corrupt` when it is not a sound
  /// database; the file is left as it is then.
  public static func open(path: String) async throws(InventoryError) -> Inventory {
    let result = await withCheckedContinuation { continuation in
      // Opening waits for the disk, and there is no connection yet whose queue could do that.
      openingQueue.async {
        continuation.resume(returning: Result { try openNow(path: path) })
      }
    }
    do {
      return try result.get()
    } catch {
      throw InventoryError(error, while: "open \(path)")
    }
  }

  private static func openNow(path: String) throws -> Inventory {
    var configuration = Configuration()
    configuration.label = "inventory"
    configuration.journalMode = .wal
    configuration.busyMode = .timeout(5)
    configuration.foreignKeysEnabled = true
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    // GRDB sets NORMAL with the write-ahead log, which may lose the last commits with the power.
    try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
    let migrator = Schema.migrator
    guard try queue.read({ try !migrator.hasBeenSuperseded($0) }) else {
      throw InventoryError(
        code: .newerVersion, message: "\(path) was written by a newer release of Dormouse")
    }
    let check = try queue.read { try String.fetchOne($0, sql: "PRAGMA quick_check(1)") }
    guard check == "ok" else {
      throw InventoryError(
        code: .corrupt, message: "\(path) is damaged: \(check ?? "its check gave no answer")")
    }
    try migrator.migrate(queue)
    return Inventory(queue: queue)
  }

  /// Does everything in `body` or nothing; `body` may be run twice, of which one run counts.
  ///
  /// Throws what the body throws as `.other` when it is no
  /// ``InventoryError`` and none of SQLite's.
  @discardableResult
  public func write<Value: Sendable>(
    _ body: @escaping @Sendable (InventoryTransaction) throws -> Value
  ) async throws(InventoryError) -> Value {
    let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
      enqueue(
        WaitingWrite(
          perform: { transaction in
            let value = try body(transaction)
            return { continuation.resume(returning: .success(value)) }
          },
          fail: { continuation.resume(returning: .failure($0)) }))
    }
    do {
      return try result.get()
    } catch {
      throw InventoryError(error, while: "write to the inventory")
    }
  }

  private func enqueue(_ write: WaitingWrite) {
    let isFirst = waiting.withLock { waiting in
      waiting.append(write)
      return waiting.count == 1
    }
    guard isFirst else { return }
    // All that have come by the time the queue gets to it.
    queue.asyncWriteWithoutTransaction { [self] database in
      WaitingWrite.commit(
        waiting.withLock { waiting in
          defer { waiting = [] }
          return waiting
        }, in: database)
    }
  }

  /// Reads one consistent state. Throws like ``write(_:)``; a write inside throws `.readOnly`.
  public func read<Value: Sendable>(
    _ body: @escaping @Sendable (InventoryTransaction) throws -> Value
  ) async throws(InventoryError) -> Value {
    let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
      queue.asyncRead { database in
        continuation.resume(
          returning: Result { try body(InventoryTransaction(database: database.get())) })
      }
    }
    do {
      return try result.get()
    } catch {
      throw InventoryError(error, while: "read the inventory")
    }
  }
}
