import Frames

/// A slot's 64 bytes: sequence 0 (u32), family 4 (u8: 0 for free, 4 or 6), place of the local
/// address 5 (u8), flags 6 (u16), local port 8 (u16), remote port 10 (u16), the guest's SEQ 12,
/// ACK 16 and TSval 20, the peer's ACK 24, end 28 and TSval 32, last seen 36 (each u32), the
/// guest's window 40, the mark of the peer's station 42 (u16), a word 44 (u32: copies of a FIN in the highest two bits,
/// held RSTs in two, traffic class in eight, flow label in twenty), remote address 48 (two u64, big
/// half first; an IPv4 address in the lower).
extension CursorTable {
  /// What is known of a flow.
  public func cursor(_ key: FlowKey) -> Cursor? {
    find(key).map(read)
  }

  /// Remembers a flow, new or known; see the type for what happens when there is no room.
  public func update(_ cursor: Cursor) {
    write(cursor, at: find(cursor.key) ?? roomForFlow(cursor.key))
  }

  /// Forgets a flow.
  public func remove(_ key: FlowKey) {
    if let offset = find(key) { clear(offset) }
  }

  /// Forgets all flows.
  public func removeAllFlows() {
    forEachFlow { _, offset in clear(offset) }
  }

  /// Calls `body` for each flow, in no order.
  public func forEachFlow(_ body: (Cursor) -> Void) {
    forEachFlow { cursor, _ in body(cursor) }
  }

  /// How many flows are known.
  public var flowCount: Int {
    var count = 0
    forEachFlow { _, _ in count += 1 }
    return count
  }

  /// Forgets the flows of a guest's address, which must happen before its place is used for
  /// another.
  func removeFlows(localIndex: Int) {
    forEachFlow { cursor, offset in
      if cursor.key.localIndex == localIndex { clear(offset) }
    }
  }

  /// Forgets slots that a killed writer left half-written, and those that name no address.
  func discardTornFlows() {
    forEachUsedSlot { index in
      let offset = Self.headerBytes + index * Self.slotBytes
      let family = load(offset + 4, as: UInt8.self)
      let place = Int(load(offset + 5, as: UInt8.self))
      let isWhole = load(offset, as: UInt32.self) & 1 == 0
      let hasOwner = place < Self.addressCount && address(at: place)?.family == family
      if !isWhole || (family != 0 && !hasOwner) { clear(offset) }
    }
  }

  private func forEachFlow(_ body: (Cursor, Int) -> Void) {
    forEachUsedSlot { index in
      let offset = Self.headerBytes + index * Self.slotBytes
      if load(offset + 4, as: UInt8.self) != 0 { body(read(offset), offset) }
    }
  }

  private func find(_ key: FlowKey) -> Int? {
    let (high, low) = key.remote.words
    let family = key.remote.family
    let buckets = buckets(of: key)
    for level in 0..<3 {
      guard let first = buckets[level], isUsed(slot: first) else { continue }
      let start = Self.headerBytes + first * Self.slotBytes
      for index in 0..<Self.bucketSlots {
        let offset = start + index * Self.slotBytes
        if load(offset + 10, as: UInt16.self) == key.remotePort,
          load(offset + 4, as: UInt8.self) == family,
          load(offset + 8, as: UInt16.self) == key.localPort,
          Int(load(offset + 5, as: UInt8.self)) == key.localIndex,
          load(offset + 56, as: UInt64.self) == low, load(offset + 48, as: UInt64.self) == high
        {
          return offset
        }
      }
    }
    return nil
  }

  /// A free slot of the flow's buckets, or the one whose flow is worth least.
  private func roomForFlow(_ key: FlowKey) -> Int {
    let buckets = buckets(of: key)
    var victim = Self.headerBytes
    var victimRank = UInt64.max
    for level in 0..<3 {
      guard let first = buckets[level] else { continue }
      let start = Self.headerBytes + first * Self.slotBytes
      guard isUsed(slot: first) else {
        use(slot: first)
        return start
      }
      for index in 0..<Self.bucketSlots {
        let offset = start + index * Self.slotBytes
        if load(offset + 4, as: UInt8.self) == 0 { return offset }
        let flags = Cursor.Flags(rawValue: load(offset + 6))
        let rank =
          UInt64(flags.contains(.handshake) ? 0 : 1) << 32
          | UInt64(load(offset + 36, as: UInt32.self))
        if rank < victimRank {
          victim = offset
          victimRank = rank
        }
      }
    }
    replacedFlows += 1
    return victim
  }

  private func clear(_ offset: Int) {
    store(UInt8(0), offset + 4)
    fence()
    store(load(offset, as: UInt32.self) & ~1, offset)
  }

  private func read(_ offset: Int) -> Cursor {
    let words = (load(offset + 48, as: UInt64.self), load(offset + 56, as: UInt64.self))
    var cursor = Cursor(
      key: FlowKey(
        localIndex: Int(load(offset + 5, as: UInt8.self)), localPort: load(offset + 8),
        remote: IPAddress(family: load(offset + 4), words: words), remotePort: load(offset + 10)))
    cursor.flags = Cursor.Flags(rawValue: load(offset + 6))
    cursor.guestSequence = load(offset + 12)
    cursor.guestAcknowledgement = load(offset + 16)
    cursor.guestTimestamp = load(offset + 20)
    cursor.peerAcknowledgement = load(offset + 24)
    cursor.peerEnd = load(offset + 28)
    cursor.peerTimestamp = load(offset + 32)
    cursor.lastSeen = load(offset + 36)
    cursor.guestWindow = load(offset + 40)
    cursor.station = load(offset + 42)
    let word = load(offset + 44, as: UInt32.self)
    cursor.finishCopies = UInt8(truncatingIfNeeded: word >> 30)
    cursor.heldResets = UInt8(truncatingIfNeeded: word >> 28 & 3)
    cursor.trafficClass = UInt8(truncatingIfNeeded: word >> 20)
    cursor.flowLabel = word & 0xf_ffff
    return cursor
  }

  private func write(_ cursor: Cursor, at offset: Int) {
    let sequence = load(offset, as: UInt32.self) & ~1
    store(sequence | 1, offset)
    fence()
    let (high, low) = cursor.key.remote.words
    store(cursor.key.remote.family, offset + 4)
    store(UInt8(truncatingIfNeeded: cursor.key.localIndex), offset + 5)
    store(cursor.flags.rawValue, offset + 6)
    store(cursor.key.localPort, offset + 8)
    store(cursor.key.remotePort, offset + 10)
    store(cursor.guestSequence, offset + 12)
    store(cursor.guestAcknowledgement, offset + 16)
    store(cursor.guestTimestamp, offset + 20)
    store(cursor.peerAcknowledgement, offset + 24)
    store(cursor.peerEnd, offset + 28)
    store(cursor.peerTimestamp, offset + 32)
    store(cursor.lastSeen, offset + 36)
    store(cursor.guestWindow, offset + 40)
    store(cursor.station, offset + 42)
    store(
      UInt32(min(cursor.finishCopies, 3)) << 30 | UInt32(min(cursor.heldResets, 3)) << 28
        | UInt32(cursor.trafficClass) << 20 | cursor.flowLabel & 0xf_ffff, offset + 44)
    store(high, offset + 48)
    store(low, offset + 56)
    fence()
    store(sequence &+ 2, offset)
  }
}

extension IPAddress {
  /// 4 or 6.
  var family: UInt8 {
    switch self {
    case .v4: 4
    case .v6: 6
    }
  }

  /// The address as two numbers, the big half first.
  var words: (UInt64, UInt64) {
    switch self {
    case .v4(let address): (0, UInt64(address.rawValue))
    case .v6(let address): (address.high, address.low)
    }
  }

  init(family: UInt8, words: (UInt64, UInt64)) {
    if family == 4 {
      self = .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: words.1)))
    } else {
      self = .v6(IPv6Address(high: words.0, low: words.1))
    }
  }
}
