/// Cuts a stream of bytes into lines, in bounded memory.
///
/// The peer is hostile input: a QEMU may have been taken over by its guest, and a guest agent is part
/// of the guest. After an error the framer stays failed; close the connection.
public struct QMPLineFramer: Sendable {
  /// `query-machines` of QEMU 10 is 13 kB, `query-cpu-definitions` 170 kB.
  public static let defaultMaximumLineLength = 1 << 20

  private let maximumLineLength: Int
  private var buffer: [UInt8] = []
  /// Where the first line that was not yet handed out begins.
  private var lineStart = 0
  /// Up to where line ends have been looked for.
  private var scanned = 0
  /// How many bytes there are after the last line end that was received.
  private var openLength = 0
  private var failure: QMPWireError?

  /// - Parameter maximumLineLength: in bytes, without the line's end.
  public init(maximumLineLength: Int = QMPLineFramer.defaultMaximumLineLength) {
    self.maximumLineLength = maximumLineLength
  }

  /// Takes in what was read. Hand out all lines with ``nextLine()`` before the next call: whole lines
  /// stay here until then.
  ///
  /// Throws ``QMPWireError/Code/lineTooLong``, and again at each later call.
  public mutating func append(_ bytes: some Collection<UInt8>) throws(QMPWireError) {
    if let failure { throw failure }
    if lineStart > 0 {
      buffer.removeFirst(lineStart)
      scanned -= lineStart
      lineStart = 0
    }
    let old = buffer.count
    buffer.append(contentsOf: bytes)
    for byte in buffer[old...] {
      openLength = isLineEnd(byte) ? 0 : openLength + 1
      if openLength > maximumLineLength { throw fail() }
    }
  }

  /// The next whole line without its end, or nil when there is none yet. Empty lines are left out.
  ///
  /// A byte 0xFF voids what is before it in its line: a guest agent sends one ahead of its answer to
  /// `guest-sync-delimited`, and it occurs nowhere in valid UTF-8.
  public mutating func nextLine() -> [UInt8]? {
    while scanned < buffer.count {
      let byte = buffer[scanned]
      scanned += 1
      guard isLineEnd(byte) else { continue }
      var line = buffer[lineStart..<scanned - 1]
      lineStart = scanned
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      if byte != QMPLineFramer.voidMark, !line.isEmpty { return Array(line) }
    }
    return nil
  }

  private static let voidMark: UInt8 = 0xFF

  private func isLineEnd(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "\n") || byte == QMPLineFramer.voidMark
  }

  private mutating func fail() -> QMPWireError {
    let failure = QMPWireError(
      .lineTooLong, "a line of more than \(maximumLineLength) bytes was received")
    self.failure = failure
    buffer = []
    lineStart = 0
    scanned = 0
    return failure
  }
}
