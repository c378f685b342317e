import GRDB

/// A write that waits for its turn.
struct WaitingWrite: Sendable {
  /// Does the work, and returns what tells the caller of its success once it is on the disk.
  let perform: @Sendable (InventoryTransaction) throws -> @Sendable () -> Void
  /// Tells the caller of its failure.
  let fail: @Sendable (any Error) -> Void

  /// Does all of them in one transaction, in order. One that fails is undone alone. If the transaction fails,
  /// nothing of it has happened, and each gets one of its own.
  static func commit(_ writes: [WaitingWrite], in database: Database) {
    if writes.count > 1, commitTogether(writes, in: database) { return }
    for write in writes { commitAlone(write, in: database) }
  }

  private static func commitTogether(_ writes: [WaitingWrite], in database: Database) -> Bool {
    var tellings: [() -> Void] = []
    do {
      try database.inTransaction {
        for write in writes {
          do {
            try database.inSavepoint {
              let succeed = try write.perform(InventoryTransaction(database: database))
              tellings.append(succeed)
              return .commit
            }
          } catch {
            // SQLite ends the whole transaction when the disk is full, for example.
            guard database.isInsideTransaction else { throw error }
            tellings.append { write.fail(error) }
          }
        }
        return .commit
      }
    } catch {
      return false
    }
    for tell in tellings { tell() }
    return true
  }

  private static func commitAlone(_ write: WaitingWrite, in database: Database) {
    do {
      var succeed: (@Sendable () -> Void)?
      try database.inTransaction {
        succeed = try write.perform(InventoryTransaction(database: database))
        return .commit
      }
      succeed?()
    } catch {
      write.fail(error)
    }
  }
}
