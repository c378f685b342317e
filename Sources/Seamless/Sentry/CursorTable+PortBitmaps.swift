/// A bitmap of all ports: which of them it is, and where in the header its 16 bits are that say which of its
/// blocks were ever used.
struct PortBitmap {
  let number: Int
  let usedBlocks: Int
}

/// Bitmaps of all ports, behind the flows, in blocks of 4096 ports. The first blocks of all bitmaps come
/// first, then their second ones, and so on, so that what is said of low ports lies together: in one page
/// for the used ports and the first six refusals. A block that was never used is not touched, not even read,
/// as reading takes memory, too.
extension CursorTable {
  private static let blockPorts = 4096
  private static let blockBytes = blockPorts / 8
  static let bitmaps = 2 + refusalSlots
  static let portBytes = bitmaps * 65_536 / 8

  private func block(_ port: UInt16, of bitmap: PortBitmap) -> Int {
    let row = Int(port) / Self.blockPorts
    return headerAndSlotBytes + (row * Self.bitmaps + bitmap.number) * Self.blockBytes
  }

  private func isUsed(_ port: UInt16, of bitmap: PortBitmap) -> Bool {
    load(bitmap.usedBlocks, as: UInt16.self) & 1 << (port >> 12) != 0
  }

  private func byte(_ port: UInt16, of bitmap: PortBitmap) -> Int {
    block(port, of: bitmap) + Int(port) % Self.blockPorts / 8
  }

  func bit(_ port: UInt16, of bitmap: PortBitmap) -> Bool {
    guard isUsed(port, of: bitmap) else { return false }
    return load(byte(port, of: bitmap), as: UInt8.self) & 1 << UInt8(port & 7) != 0
  }

  func setBit(_ port: UInt16, of bitmap: PortBitmap) {
    if !isUsed(port, of: bitmap) {
      let start = block(port, of: bitmap)
      UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + Self.blockBytes])
        .initializeMemory(as: UInt8.self, repeating: 0)
      fence()
      store(load(bitmap.usedBlocks, as: UInt16.self) | 1 << (port >> 12), bitmap.usedBlocks)
      fence()
    }
    let offset = byte(port, of: bitmap)
    store(load(offset, as: UInt8.self) | 1 << UInt8(port & 7), offset)
  }

  func clearBit(_ port: UInt16, of bitmap: PortBitmap) {
    guard isUsed(port, of: bitmap) else { return }
    let offset = byte(port, of: bitmap)
    store(load(offset, as: UInt8.self) & ~(1 << UInt8(port & 7)), offset)
  }

  func clearBitmap(_ bitmap: PortBitmap) { store(UInt16(0), bitmap.usedBlocks) }

  private var headerAndSlotBytes: Int { Self.headerBytes + capacity * Self.slotBytes }
}
