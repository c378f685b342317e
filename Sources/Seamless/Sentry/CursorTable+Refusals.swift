import CLinux
import Frames
import Glibc
public import LinuxSystem

/// Ports at which the guest has refused somebody: per peer, address of the guest's and protocol a bitmap
/// of all ports. A firewall may refuse one peer and ignore the next, so
/// what one has been told says nothing about another.
///
/// The header has a tag of 32 bytes for each, from 2320 on: peer 0 (two u64, as in a flow), since when it
/// is filled 16, when it was last added to 20 (u32, seconds), place of the local address 24, protocol 25,
/// family 26, 1 if used 27 (u8), used blocks of its bitmap 28, the mark of the station that the refusals went
/// to 30 (u16).
extension CursorTable {
  /// How many bitmaps there are; what was not added to for longest goes first, which costs a wake.
  static let refusalSlots = 8
  private static let tagStart = 2320
  private static let tagBytes = 32

  private func tag(_ slot: Int) -> Int { Self.tagStart + slot * Self.tagBytes }
  private func bitmap(ofRefusals slot: Int) -> PortBitmap {
    PortBitmap(number: 2 + slot, usedBlocks: tag(slot) + 28)
  }

  private func isInUse(_ slot: Int) -> Bool { load(tag(slot) + 27, as: UInt8.self) == 1 }

  private func slot(_ protocolKind: PortProtocol, _ localIndex: Int, _ peer: IPAddress) -> Int? {
    let (high, low) = peer.words
    for slot in 0..<Self.refusalSlots where isInUse(slot) {
      let tag = tag(slot)
      if load(tag + 8, as: UInt64.self) == low, load(tag, as: UInt64.self) == high,
        load(tag + 25, as: UInt8.self) == protocolKind.rawValue,
        Int(load(tag + 24, as: UInt8.self)) == localIndex
      {
        return slot
      }
    }
    return nil
  }

  /// Whether what a bitmap says is not too old. As for ``isClosed(_:localIndex:)`` the guest's waking time
  /// counts, from the first refusal on.
  private func isRecent(_ slot: Int) -> Bool {
    lastHeard &- load(tag(slot) + 16, as: UInt32.self) <= Self.closedPortValidity
  }

  /// Whether the guest has lately refused this peer at this port of this address.
  /// - Parameter station: where the peer's packet comes from; the refusals must have gone there.
  package func hasRefused(
    _ peer: IPAddress, from station: MACAddress, at port: UInt16, _ protocolKind: PortProtocol,
    localIndex: Int
  ) -> Bool {
    guard let slot = slot(protocolKind, localIndex, peer), isRecent(slot),
      load(tag(slot) + 30) == mark(of: station)
    else { return false }
    return bit(port, of: bitmap(ofRefusals: slot))
  }

  /// Whether the guest has lately refused anybody in the family anything.
  func hasRefusedAnybody(_ protocolKind: PortProtocol, family: UInt8) -> Bool {
    (0..<Self.refusalSlots).contains { slot in
      isInUse(slot) && isRecent(slot)
        && load(tag(slot) + 25, as: UInt8.self) == protocolKind.rawValue
        && load(tag(slot) + 26, as: UInt8.self) == family
    }
  }

  package func addRefusal(
    of peer: IPAddress, to station: MACAddress, at port: UInt16, _ protocolKind: PortProtocol,
    localIndex: Int, now: UInt32
  ) {
    let known = slot(protocolKind, localIndex, peer)
    let slot = known ?? roomForRefusals()
    let tag = tag(slot)
    if known == nil || !isRecent(slot) {
      store(UInt8(0), tag + 27)
      fence()
      clearBitmap(bitmap(ofRefusals: slot))
      let (high, low) = peer.words
      store(high, tag)
      store(low, tag + 8)
      store(now, tag + 16)
      store(UInt8(truncatingIfNeeded: localIndex), tag + 24)
      store(protocolKind.rawValue, tag + 25)
      store(peer.family, tag + 26)
      fence()
      store(UInt8(1), tag + 27)
    }
    store(now, tag + 20)
    store(mark(of: station), tag + 30)
    setBit(port, of: bitmap(ofRefusals: slot))
  }

  /// The peer asks again: what it was told no longer counts.
  package func removeRefusal(
    of peer: IPAddress, at port: UInt16, _ protocolKind: PortProtocol, localIndex: Int
  ) {
    guard let slot = slot(protocolKind, localIndex, peer) else { return }
    clearBit(port, of: bitmap(ofRefusals: slot))
  }

  /// Somebody in the guest uses the port.
  func removeRefusals(at port: UInt16, _ protocolKind: PortProtocol, localIndex: Int) {
    for slot in 0..<Self.refusalSlots where isInUse(slot) {
      let tag = tag(slot)
      if load(tag + 25, as: UInt8.self) == protocolKind.rawValue,
        Int(load(tag + 24, as: UInt8.self)) == localIndex
      {
        clearBit(port, of: bitmap(ofRefusals: slot))
      }
    }
  }

  /// Forgets what was said about an address, whose place another will take.
  func forgetRefusals(localIndex: Int) {
    for slot in 0..<Self.refusalSlots
    where Int(load(tag(slot) + 24, as: UInt8.self)) == localIndex {
      store(UInt8(0), tag(slot) + 27)
    }
  }

  private func roomForRefusals() -> Int {
    var victim = 0
    var oldest = UInt32.max
    for slot in 0..<Self.refusalSlots {
      if !isInUse(slot) { return slot }
      let added = load(tag(slot) + 20, as: UInt32.self)
      if added < oldest { (victim, oldest) = (slot, added) }
    }
    return victim
  }

  /// Whether the table in this memory remembers that the guest has refused anybody anything: otherwise it
  /// need not be known which ports it uses.
  public static func remembersRefusals(in memory: borrowing OwnedFileDescriptor) -> Bool {
    var tags = [UInt8](repeating: 0, count: refusalSlots * tagBytes)
    guard pread(memory.rawValue, &tags, tags.count, off_t(tagStart)) == tags.count else {
      return false
    }
    return (0..<refusalSlots).contains { tags[$0 * tagBytes + 27] == 1 }
  }
}
