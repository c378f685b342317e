/// UDP ports that the guest has said nobody listens on. An entry's 8 bytes: port 0 (u16), place
/// of the local address 2 (u8), 1 if used 3 (u8), when it was said 4 (u32, seconds).
extension CursorTable {
  /// How many closed ports there can be; the oldest goes first.
  public static let closedPortLimit = 64
  /// For how long, in seconds of the guest's being awake, its word counts: something may have
  /// begun to listen without sending anything.
  static let closedPortValidity: UInt32 = 600

  private static let start = 1792

  private func closedPortOffset(_ port: UInt16, localIndex: Int) -> Int? {
    for index in 0..<Self.closedPortLimit {
      let offset = Self.start + 8 * index
      if load(offset, as: UInt16.self) == port, load(offset + 3, as: UInt8.self) == 1,
        Int(load(offset + 2, as: UInt8.self)) == localIndex
      {
        return offset
      }
    }
    return nil
  }

  /// Whether the guest has lately refused datagrams for a port. Nothing can begin to listen while
  /// it sleeps, so the age counts up to the last frame that it sent.
  func isClosed(_ port: UInt16, localIndex: Int) -> Bool {
    guard let offset = closedPortOffset(port, localIndex: localIndex) else { return false }
    return lastHeard &- load(offset + 4, as: UInt32.self) <= Self.closedPortValidity
  }

  func setClosed(_ port: UInt16, localIndex: Int, at now: UInt32) {
    var offset = Self.start
    var oldest = UInt32.max
    if let known = closedPortOffset(port, localIndex: localIndex) {
      offset = known
    } else {
      for index in 0..<Self.closedPortLimit {
        let candidate = Self.start + 8 * index
        let said =
          load(candidate + 3, as: UInt8.self) == 0 ? 0 : load(candidate + 4, as: UInt32.self)
        if said < oldest {
          offset = candidate
          oldest = said
        }
      }
    }
    store(UInt8(0), offset + 3)
    fence()
    store(port, offset)
    store(UInt8(truncatingIfNeeded: localIndex), offset + 2)
    store(now, offset + 4)
    fence()
    store(UInt8(1), offset + 3)
  }

  func setOpen(_ port: UInt16, localIndex: Int) {
    if let offset = closedPortOffset(port, localIndex: localIndex) {
      store(UInt8(0), offset + 3)
    }
  }

  /// Forgets what was said about an address, whose place another will take.
  func forgetClosedPorts(localIndex: Int) {
    for index in 0..<Self.closedPortLimit {
      let offset = Self.start + 8 * index
      if Int(load(offset + 2, as: UInt8.self)) == localIndex { store(UInt8(0), offset + 3) }
    }
  }
}
