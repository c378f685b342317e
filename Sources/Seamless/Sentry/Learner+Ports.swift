import Frames

extension Learner {
  /// A peer opens a connection: from now on only the guest's answer to this tells whether the port is
  /// closed to that peer. One that is dropped was not refused.
  mutating func learnOpening(_ segment: TCPSegment, _ key: FlowKey) {
    guard segment.flags.contains(.syn), segment.flags.isDisjoint(with: [.ack, .fin, .rst]) else {
      return
    }
    table.removeRefusal(of: key.remote, at: key.localPort, .tcp, localIndex: key.localIndex)
    openings.add(key, end: segment.end)
  }

  /// The guest resets: if that is its answer to the opening of a connection, it refuses that peer at that
  /// port. A reset for anything else, such as a FIN of a connection that never was, shows nothing: a
  /// firewall may let that through and drop a SYN.
  mutating func learnRefusal(
    _ segment: TCPSegment, _ key: FlowKey, to station: MACAddress, _ now: UInt32
  ) {
    guard segment.flags == [.rst, .ack], segment.sequence == 0, segment.payloadLength == 0,
      segment.window == 0, segment.timestamps == nil,
      openings.remove(key, end: segment.acknowledgement)
    else { return }
    table.addRefusal(
      of: key.remote, to: station, at: key.localPort, .tcp, localIndex: key.localIndex, now: now)
  }
}

/// The newest openings of connections that the guest has not refused, each as a keyed hash in a row that
/// depends on it. The oldest of a full row goes; it costs a wake later.
struct OpenedConnections {
  private static let rows = 64
  private static let rowLength = 8
  /// Empty until the first.
  private var hashes: [Int] = []

  mutating func add(_ key: FlowKey, end: UInt32) {
    if hashes.isEmpty { hashes = [Int](repeating: 0, count: Self.rows * Self.rowLength) }
    let (row, hash) = Self.place(key, end)
    // A repeated SYN is one.
    guard !hashes[row].contains(hash) else { return }
    for index in row.dropLast().reversed() { hashes[index + 1] = hashes[index] }
    hashes[row.lowerBound] = hash
  }

  /// Whether it is there, and not any more afterwards.
  mutating func remove(_ key: FlowKey, end: UInt32) -> Bool {
    let (row, hash) = Self.place(key, end)
    guard !hashes.isEmpty, let index = hashes[row].firstIndex(of: hash) else { return false }
    hashes[index] = 0
    return true
  }

  private static func place(_ key: FlowKey, _ end: UInt32) -> (row: Range<Int>, hash: Int) {
    var hasher = Hasher()
    hasher.combine(key)
    hasher.combine(end)
    // Zero means that there is none.
    let hash = hasher.finalize() | 1
    let start = (hash >> 1 & (rows - 1)) * rowLength
    return (start..<start + rowLength, hash)
  }
}
