/// A frame read byte by byte. Shares no code with `Frames`, which it is compared with.
struct WireFrame {
  let bytes: [UInt8]
  /// The tags' bytes and the EtherType.
  let tagsAndType: ArraySlice<UInt8>
  let type: UInt64
  /// Where the network layer begins.
  let network: Int
  /// `nil` for other frames than those of IPv4 and IPv6 that are long enough.
  let packet: WirePacket?

  init?(_ bytes: [UInt8]) {
    var start = 12
    var tags = 0
    while start + 2 <= bytes.count {
      let type = bigEndian(bytes, start, 2)
      guard tags < 2, type == 0x8100 || type == 0x88a8 else { break }
      start += 4
      tags += 1
    }
    guard start + 2 <= bytes.count else { return nil }
    self.bytes = bytes
    tagsAndType = bytes[12..<start + 2]
    type = bigEndian(bytes, start, 2)
    network = start + 2
    packet = WirePacket(bytes, at: start + 2, type: type)
  }

  var destination: ArraySlice<UInt8> { bytes[0..<6] }
  var source: ArraySlice<UInt8> { bytes[6..<12] }
}

/// An IP packet in a frame.
struct WirePacket {
  let isIPv6: Bool
  let source: ArraySlice<UInt8>
  let destination: ArraySlice<UInt8>
  let protocolNumber: UInt8
  /// Where the header above IP lies in the frame, and where the packet ends.
  let transport: Range<Int>
  let isFragment: Bool

  init?(_ bytes: [UInt8], at start: Int, type: UInt64) {
    switch type {
    case 0x0800:
      guard start + 20 <= bytes.count, bytes[start] >> 4 == 4 else { return nil }
      isIPv6 = false
      source = bytes[start + 12..<start + 16]
      destination = bytes[start + 16..<start + 20]
      protocolNumber = bytes[start + 9]
      isFragment = bigEndian(bytes, start + 6, 2) & 0x3fff != 0
      let header = start + Int(bytes[start] & 15) * 4
      let end = start + Int(bigEndian(bytes, start + 2, 2))
      guard header >= start + 20, header <= end, end <= bytes.count else { return nil }
      transport = header..<end
    case 0x86dd:
      guard start + 40 <= bytes.count, bytes[start] >> 4 == 6 else { return nil }
      isIPv6 = true
      source = bytes[start + 8..<start + 24]
      destination = bytes[start + 24..<start + 40]
      let end = start + 40 + Int(bigEndian(bytes, start + 4, 2))
      guard end <= bytes.count else { return nil }
      var next = bytes[start + 6]
      var header = start + 40
      while [0, 43, 51, 60, 135, 139, 140].contains(next) {
        // Who does not know these does not look at their lengths.
        let isOther = next == 51 || next > 60
        guard header + 2 <= end else {
          if isOther { break }
          return nil
        }
        let length = Int(bytes[header + 1])
        let size = next == 51 ? (length + 2) * 4 : (length + 1) * 8
        if isOther, header + size > end { break }
        next = bytes[header]
        header += size
      }
      guard header <= end else { return nil }
      isFragment = next == 44
      protocolNumber = next
      transport = header..<end
    default:
      return nil
    }
  }
}

/// The header of a TCP segment.
struct WireSegment {
  let sourcePort: UInt64
  let destinationPort: UInt64
  let sequence: UInt32
  let acknowledgement: UInt32
  let flags: UInt8
  let window: UInt64
  let options: ArraySlice<UInt8>
  let payloadLength: Int

  init?(_ packet: WirePacket, in bytes: [UInt8]) {
    let start = packet.transport.lowerBound
    let end = packet.transport.upperBound
    guard packet.protocolNumber == 6, !packet.isFragment, start + 20 <= end else { return nil }
    let header = start + Int(bytes[start + 12] >> 4) * 4
    guard header >= start + 20, header <= end else { return nil }
    sourcePort = bigEndian(bytes, start, 2)
    destinationPort = bigEndian(bytes, start + 2, 2)
    sequence = UInt32(bigEndian(bytes, start + 4, 4))
    acknowledgement = UInt32(bigEndian(bytes, start + 8, 4))
    flags = bytes[start + 13]
    window = bigEndian(bytes, start + 14, 2)
    options = bytes[start + 20..<header]
    payloadLength = end - header
  }

  /// The sequence number after the segment, SYN and FIN counted.
  var end: UInt32 {
    sequence &+ UInt32(payloadLength) &+ UInt32(flags >> 1 & 1) &+ UInt32(flags & 1)
  }
}

func bigEndian(_ bytes: [UInt8], _ start: Int, _ count: Int) -> UInt64 {
  bytes[start..<start + count].reduce(0) { $0 << 8 | UInt64($1) }
}

/// The Internet checksum (RFC 1071); zero over what contains a right one.
func wireChecksum(_ parts: ArraySlice<UInt8>...) -> UInt16 {
  var sum: UInt64 = 0
  for part in parts {
    for (index, byte) in part.enumerated() {
      sum += index.isMultiple(of: 2) ? UInt64(byte) << 8 : UInt64(byte)
    }
  }
  while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
  return ~UInt16(sum)
}

extension WireFrame {
  /// What is wrong with the frame's lengths and checksums; `nil` if nothing is.
  var defect: String? {
    switch type {
    case 0x0806:
      return bytes.count == network + 28 ? nil : "an ARP packet of \(bytes.count - network) bytes"
    case 0x0800, 0x86dd:
      guard let packet else { return "a broken IP header" }
      guard packet.transport.upperBound == bytes.count else { return "bytes behind the packet" }
      guard packet.isIPv6 || wireChecksum(bytes[network..<packet.transport.lowerBound]) == 0
      else { return "a wrong IPv4 checksum" }
      return packet.checksum(in: bytes) == 0 ? nil : "a wrong transport checksum"
    default:
      return "the EtherType \(type)"
    }
  }

  /// The bytes with right checksums, as far as there is a packet that has any.
  var repaired: [UInt8] {
    guard let packet else { return bytes }
    var frame = bytes
    if !packet.isIPv6 {
      frame.put(0, at: network + 10)
      frame.put(wireChecksum(frame[network..<packet.transport.lowerBound]), at: network + 10)
    }
    let offsets: [UInt8: Int] = [1: 2, 2: 2, 6: 16, 17: 6, 58: 2]
    guard !packet.isFragment, let offset = offsets[packet.protocolNumber],
      packet.transport.count >= offset + 2
    else { return frame }
    let position = packet.transport.lowerBound + offset
    frame.put(0, at: position)
    frame.put(packet.checksum(in: frame), at: position)
    return frame
  }
}

extension WirePacket {
  /// Over what is above IP, with the pseudo-header where the protocol has one.
  func checksum(in bytes: [UInt8]) -> UInt16 {
    let covered = bytes[transport]
    if !isIPv6, protocolNumber == 1 || protocolNumber == 2 { return wireChecksum(covered) }
    let trailer: [UInt8] = [
      UInt8(covered.count >> 8 & 255), UInt8(covered.count & 255), 0, protocolNumber,
    ]
    return wireChecksum(source, destination, trailer[...], covered)
  }
}

extension [UInt8] {
  mutating func put(_ value: UInt16, at position: Int) {
    self[position] = UInt8(value >> 8)
    self[position + 1] = UInt8(value & 255)
  }
}
