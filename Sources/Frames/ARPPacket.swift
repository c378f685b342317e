/// An ARP packet for IPv4 over Ethernet (RFC 826).
public struct ARPPacket: Hashable, Sendable {
  public enum Operation: UInt16, Sendable {
    case request = 1
    case reply = 2
  }

  public var operation: Operation
  public var senderMAC: MACAddress
  public var sender: IPv4Address
  public var targetMAC: MACAddress
  public var target: IPv4Address

  public init(
    operation: Operation, senderMAC: MACAddress, sender: IPv4Address, targetMAC: MACAddress,
    target: IPv4Address
  ) {
    self.operation = operation
    self.senderMAC = senderMAC
    self.sender = sender
    self.targetMAC = targetMAC
    self.target = target
  }

  /// - Throws: `.truncated`, or `.inconsistent` for other hardware, protocols and operations.
  init(parsing frame: UnsafeRawBufferPointer, at offset: Int) throws(FrameError) {
    let kind = try frame.bigEndian(offset, as: UInt64.self)
    // Ethernet goes by two numbers: its own, and that of all IEEE 802 networks (RFC 1390), which Linux
    // takes too.
    guard kind >> 16 == 0x0001_0800_0604 || kind >> 16 == 0x0006_0800_0604,
      let operation = Operation(rawValue: UInt16(truncatingIfNeeded: kind))
    else {
      throw FrameError(.inconsistent, "ARP for something else than IPv4 over Ethernet")
    }
    self.operation = operation
    senderMAC = try frame.macAddress(offset + 8)
    sender = try frame.ipv4Address(offset + 14)
    targetMAC = try frame.macAddress(offset + 18)
    target = try frame.ipv4Address(offset + 24)
  }
}
