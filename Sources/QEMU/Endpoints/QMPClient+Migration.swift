public import QMP

/// How far a migration is (QEMU: qapi/migration.json, MigrationInfo).
public struct MigrationProgress: Sendable, Hashable {
  /// QEMU's word: `none`, `setup`, `active`, `completed`, `failed`, `cancelled` …
  public let status: String
  /// Why it failed, if it did.
  public let failure: String?
  public let transferredBytes: Int64
  public let totalBytes: Int64
  /// How long the guest stood still, once completed. In milliseconds, by QEMU's clock.
  public let downtimeMilliseconds: Int64?

  public var isFinished: Bool {
    ["completed", "failed", "cancelled"].contains(status)
  }
}

extension QMPClient {
  /// `migrate-set-capabilities`, `mapped-ram` for example. To be set alike on both sides.
  public func migrateSetCapabilities(
    _ capabilities: [String: Bool], deadline: Duration = .seconds(5)
  ) async throws(QMPError) {
    let list = capabilities.sorted { $0.key < $1.key }.map { name, state in
      JSONValue.object(["capability": .string(name), "state": .bool(state)])
    }
    try await execute(
      "migrate-set-capabilities", ["capabilities": .array(list)], deadline: deadline)
  }

  /// `migrate-set-parameters`, `max-bandwidth` for example.
  public func migrateSetParameters(
    _ parameters: [String: JSONValue], deadline: Duration = .seconds(5)
  ) async throws(QMPError) {
    try await execute("migrate-set-parameters", .object(parameters), deadline: deadline)
  }

  /// `migrate`: starts sending the machine away, to `file:PATH` for example; see
  /// ``waitForMigration(deadline:)``. QEMU opens the file, as the user it runs as.
  public func migrate(uri: String, deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("migrate", ["uri": .string(uri)], deadline: deadline)
  }

  /// `migrate-incoming`: lets a machine that was started with `-incoming defer` receive. QEMU stays when
  /// that fails, and says why.
  public func migrateIncoming(uri: String, deadline: Duration = .seconds(5)) async throws(QMPError)
  {
    try await execute(
      "migrate-incoming", ["uri": .string(uri), "exit-on-error": .bool(false)], deadline: deadline)
  }

  /// `migrate_cancel`: gives a migration up, on the sending side. Nothing happens when there is none.
  public func migrateCancel(deadline: Duration = .seconds(5)) async throws(QMPError) {
    try await execute("migrate_cancel", deadline: deadline)
  }

  /// `query-migrate`.
  public func queryMigrate(
    deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> MigrationProgress {
    let answer = try await execute("query-migrate", deadline: deadline)
    guard answer.objectValue != nil else { throw .unexpected("query-migrate") }
    return MigrationProgress(
      status: answer["status"]?.stringValue ?? "none",
      failure: answer["error-desc"]?.stringValue,
      transferredBytes: answer["ram"]?["transferred"]?.integerValue ?? 0,
      totalBytes: answer["ram"]?["total"]?.integerValue ?? 0,
      downtimeMilliseconds: answer["downtime"]?.integerValue)
  }

  /// Waits until the migration is completed, on either side.
  ///
  /// - Throws: ``QMPError/Code/command`` when it failed or was cancelled, ``QMPError/Code/deadline``,
  ///   and as ``execute(_:_:deadline:)``.
  @discardableResult
  public func waitForMigration(deadline: Duration) async throws(QMPError) -> MigrationProgress {
    let end = ContinuousClock.now + deadline
    while true {
      let progress = try await queryMigrate(deadline: min(deadline, .seconds(5)))
      if progress.status == "completed" { return progress }
      if progress.isFinished {
        let failure = QMPFailure(
          errorClass: "GenericError", description: progress.failure ?? progress.status)
        throw .refused("migrate", failure)
      }
      guard .now < end else { throw .late("migrate", after: deadline) }
      do {
        try await Task.sleep(for: .milliseconds(10))
      } catch {
        throw QMPError(.cancelled, "waiting for a migration was cancelled", cause: error)
      }
    }
  }
}
