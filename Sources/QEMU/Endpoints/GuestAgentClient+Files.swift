import FoundationEssentials
import QMP

extension GuestAgentClient {
  /// The longest piece of a file that is asked for at once, in bytes; its base64 form fits into a line.
  private static let pieceBytes = 128 << 10

  /// Reads a file in the guest (`guest-file-open`, `guest-file-read`, `guest-file-close`).
  ///
  /// - Parameters:
  ///   - limit: a longer file is an error (``QMPError/Code/protocolViolation``), not a cut.
  ///   - deadline: for all of it.
  public func readFile(
    _ path: String, limit: Int, deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> [UInt8] {
    let end = ContinuousClock.now + deadline
    let opened = try await execute(
      "guest-file-open", ["path": .string(path), "mode": "r"], deadline: deadline)
    guard let handle = opened.integerValue else { throw .unexpected("guest-file-open") }
    let result: Result<[UInt8], QMPError>
    do throws(QMPError) {
      result = .success(try await read(handle, limit: limit, until: end))
    } catch {
      result = .failure(error)
    }
    // Also when reading has failed: the agent would keep it open for ever.
    _ = try? await execute(
      "guest-file-close", ["handle": .integer(handle)],
      deadline: max(end - .now, .milliseconds(200)))
    return try result.get()
  }

  private func read(
    _ handle: Int64, limit: Int, until end: ContinuousClock.Instant
  ) async throws(QMPError) -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let piece = try await execute(
        "guest-file-read", ["handle": .integer(handle), "count": .integer(Int64(Self.pieceBytes))],
        deadline: end - .now)
      guard let text = piece["buf-b64"]?.stringValue, let data = Data(base64Encoded: text),
        let isAtEnd = piece["eof"]?.boolValue
      else { throw .unexpected("guest-file-read") }
      guard bytes.count + data.count <= limit else {
        throw QMPError(.protocolViolation, "a file of the guest's is longer than \(limit) bytes")
      }
      bytes += data
      if isAtEnd { return bytes }
      // A guest that says nothing and does not end would be asked until the deadline.
      guard !data.isEmpty else { throw .unexpected("guest-file-read") }
    }
  }
}

extension QMPError {
  /// Whether an agent has refused because a file is not there.
  public var isMissingFile: Bool {
    code == .command && failure?.description.contains("No such file or directory") == true
  }
}
