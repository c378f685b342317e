/// A stopped machine's memory and devices in one file, to continue from in another QEMU.
///
/// Each page has a place of its own in the file (QEMU: docs/devel/migration/mapped-ram.rst): pages of zeros
/// are holes, and what is read back is read in large portions. The file has no checksum.
extension QMPClient {
  private static var stateCapabilities: [String: Bool] { ["mapped-ram": true] }

  /// Writes the machine, which must be stopped, to a file. Its disks are closed and consistent then; `cont`
  /// opens them again.
  ///
  /// - Parameters:
  ///   - path: a path that QEMU's user may write, or a descriptor set that it has, open for writing only.
  ///   - deadline: for all of it. QEMU is told to stop writing when it has passed.
  /// - Throws: as ``waitForMigration(deadline:)``.
  public func saveState(to path: String, deadline: Duration) async throws(QMPError) {
    try await migrateSetCapabilities(Self.stateCapabilities)
    // QEMU's own limit is made for networks.
    try await migrateSetParameters(["max-bandwidth": 0])
    try await migrate(uri: "file:" + path)
    do throws(QMPError) {
      try await waitForMigration(deadline: deadline)
    } catch {
      // Its failure says no more than the first one.
      try? await stopSavingState()
      throw error
    }
  }

  /// What marks the descriptor of a state's file among those that QEMU has been given (`add-fd`).
  public static let stateFileMark = "state"

  /// Makes QEMU close the files of states that it was given, so that their room is free once they are removed.
  public func closeStateFiles() async throws(QMPError) {
    guard let sets = try await execute("query-fdsets").arrayValue else {
      throw .unexpected("query-fdsets")
    }
    for set in sets {
      guard let number = set["fdset-id"]?.integerValue,
        set["fds"]?.arrayValue?.contains(where: {
          $0["opaque"]?.stringValue == Self.stateFileMark
        }) == true
      else { continue }
      try await execute("remove-fd", ["fdset-id": .integer(number)])
    }
  }

  /// Makes QEMU give up the writing of a state, whoever has asked for it, and waits until it has: before
  /// that, `cont` would let the machine run only until the writing is done.
  ///
  /// - Throws: ``QMPError/Code/deadline``, and as ``execute(_:_:deadline:)``.
  public func stopSavingState(deadline: Duration = .seconds(10)) async throws(QMPError) {
    try await migrateCancel()
    let end = ContinuousClock.now + deadline
    while true {
      let progress = try await queryMigrate()
      if progress.isFinished || progress.status == "none" { return }
      guard .now < end else { throw .late("migrate_cancel", after: deadline) }
      do {
        try await Task.sleep(for: .milliseconds(10))
      } catch {
        throw QMPError(.cancelled, "waiting for the end of a migration was cancelled", cause: error)
      }
    }
  }

  /// Reads a machine that was started with `-incoming defer` from a file, and leaves it stopped.
  ///
  /// - Throws: ``QMPError/Code/command`` when the file does not hold the state of such a machine, and as
  ///   ``waitForMigration(deadline:)``.
  public func loadState(from path: String, deadline: Duration) async throws(QMPError) {
    try await migrateSetCapabilities(Self.stateCapabilities)
    try await migrateIncoming(uri: "file:" + path)
    try await waitForMigration(deadline: deadline)
  }
}
