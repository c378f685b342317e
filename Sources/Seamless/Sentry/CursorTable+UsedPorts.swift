/// The ports that the guest uses during one sleep: a bitmap of all ports for TCP, and one for UDP. In the
/// header: the sleep that they hold for 2304 (u64, its generation; 0 for none), how far they are trusted
/// 2312 (u8), the used blocks of the bitmaps 2314 and 2316 (u16).
extension CursorTable {
  private static let sleepOffset = 2304
  private static let trustOffset = 2312

  private func bitmap(_ protocolKind: PortProtocol) -> PortBitmap {
    protocolKind == .tcp
      ? PortBitmap(number: 0, usedBlocks: 2314) : PortBitmap(number: 1, usedBlocks: 2316)
  }

  /// Notes what is used in the sleep that is about to begin.
  public func setUsedPorts(_ ports: UsedPorts) {
    forgetUsedPorts()
    for (kind, list) in [(PortProtocol.tcp, ports.tcp), (.udp, ports.udp)] {
      clearBitmap(bitmap(kind))
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
  package func unusedPortTrust(_ port: UInt16, _ protocolKind: PortProtocol) -> UsedPorts.Trust? {
    let sleep = load(Self.sleepOffset, as: UInt64.self)
    guard sleep != 0, sleep == generation, !bit(port, of: bitmap(protocolKind)) else { return nil }
    return UsedPorts.Trust(rawValue: load(Self.trustOffset))
  }
}
