/// The ports that the guest uses during one sleep: a bitmap of all ports for TCP, and one for UDP behind
/// it. In the header: the sleep that they hold for 2304 (u64, its generation; 0 for none), how far they
/// are trusted 2312 (u8).
extension CursorTable {
  static let bitmapBytes = 65536 / 8
  /// Bytes behind the flows: both bitmaps, and those of the refusals.
  static let portBytes = (2 + refusalSlots) * bitmapBytes

  private static let sleepOffset = 2304
  private static let trustOffset = 2312

  /// Where the bitmaps begin.
  var portStart: Int { Self.headerBytes + capacity * Self.slotBytes }

  private func bitmap(_ protocolKind: PortProtocol) -> Int {
    portStart + (protocolKind == .tcp ? 0 : Self.bitmapBytes)
  }

  /// Notes what is used in the sleep that is about to begin.
  public func setUsedPorts(_ ports: UsedPorts) {
    forgetUsedPorts()
    for (kind, list) in [(PortProtocol.tcp, ports.tcp), (.udp, ports.udp)] {
      clearBitmap(at: bitmap(kind))
      for port in list { setBit(port, of: bitmap(kind)) }
    }
    store(ports.trust.rawValue, Self.trustOffset)
    fence()
    store(generation &+ 1, Self.sleepOffset)
  }

  /// Nothing is known of the sleep that is about to begin.
  public func forgetUsedPorts() {
    store(UInt64(0), Self.sleepOffset)
    fence()
  }

  /// Whether nobody in the guest uses a port during the present sleep, and how far that is trusted; nil
  /// where it is used or nothing is known.
  func unusedPortTrust(_ port: UInt16, _ protocolKind: PortProtocol) -> UsedPorts.Trust? {
    let sleep = load(Self.sleepOffset, as: UInt64.self)
    guard sleep != 0, sleep == generation, !bit(port, of: bitmap(protocolKind)) else { return nil }
    return UsedPorts.Trust(rawValue: load(Self.trustOffset))
  }

  // MARK: - Bitmaps

  func bit(_ port: UInt16, of bitmap: Int) -> Bool {
    load(bitmap + Int(port >> 3), as: UInt8.self) & 1 << UInt8(port & 7) != 0
  }

  func setBit(_ port: UInt16, of bitmap: Int) {
    let offset = bitmap + Int(port >> 3)
    store(load(offset, as: UInt8.self) | 1 << UInt8(port & 7), offset)
  }

  func clearBit(_ port: UInt16, of bitmap: Int) {
    let offset = bitmap + Int(port >> 3)
    store(load(offset, as: UInt8.self) & ~(1 << UInt8(port & 7)), offset)
  }

  func clearBitmap(at offset: Int) {
    UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + Self.bitmapBytes])
      .initializeMemory(as: UInt8.self, repeating: 0)
  }
}
