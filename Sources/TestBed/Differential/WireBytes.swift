import Glibc

/// Frames written byte by byte: deliberately not by the product's own code, which they are to test.
typealias Bytes = [UInt8]

func be16(_ value: Int) -> Bytes { [UInt8(value >> 8 & 255), UInt8(value & 255)] }
func be32(_ value: UInt32) -> Bytes { (0..<4).map { UInt8(value >> UInt32(24 - 8 * $0) & 255) } }

extension Array where Element == UInt8 {
  /// The big-endian number at `offset`; nil if the bytes end before it does.
  func number(_ offset: Int, _ count: Int) -> Int? {
    guard offset >= 0, offset + count <= self.count else { return nil }
    return self[offset..<offset + count].reduce(0) { $0 << 8 | Int($1) }
  }

  /// The bytes from `offset` on; nil if there are fewer.
  func piece(_ offset: Int, _ count: Int) -> Bytes? {
    guard offset >= 0, count >= 0, offset + count <= self.count else { return nil }
    return Bytes(self[offset..<offset + count])
  }

  mutating func put(_ bytes: Bytes, at offset: Int) {
    guard offset >= 0, offset + bytes.count <= count else { return }
    replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }

  /// As people and `--replay` read it.
  var hexadecimal: String {
    map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// RFC 1071, the slow way.
func internetChecksum(_ bytes: Bytes) -> Int {
  var sum = 0
  for index in stride(from: 0, to: bytes.count, by: 2) {
    sum += Int(bytes[index]) << 8 | (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
  }
  while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
  return ~sum & 0xffff
}

/// The bytes of a numeric address of either family, or of a MAC address.
func addressBytes(_ text: String) -> Bytes {
  if text.split(separator: ":", omittingEmptySubsequences: false).count == 6, text.count == 17 {
    return text.split(separator: ":").compactMap { UInt8($0, radix: 16) }
  }
  let isIPv6 = text.contains(":")
  var bytes = Bytes(repeating: 0, count: isIPv6 ? 16 : 4)
  inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &bytes)
  return bytes
}

/// The numbers of protocols above IP.
enum Above {
  static let icmp = 1
  static let igmp = 2
  static let tcp = 6
  static let udp = 17
  static let icmpv6 = 58
}

/// A packet above IP: puts the right checksum in, over the pseudo-header where the protocol has one.
func summed(_ packet: Bytes, at offset: Int, _ source: Bytes, _ destination: Bytes, _ next: Int)
  -> Bytes
{
  var packet = packet
  let hasPseudoHeader = next != Above.icmp && next != Above.igmp
  let pseudo = source + destination + be32(UInt32(packet.count)) + [0, 0, 0, UInt8(next)]
  packet.put(be16(0), at: offset)
  packet.put(be16(internetChecksum((hasPseudoHeader ? pseudo : []) + packet)), at: offset)
  return packet
}

/// An IP packet and the frame around it, of the addresses' family. What is not set is as an honest
/// sender has it.
struct PacketForm {
  var to: Bytes
  var from: Bytes
  var tags: [(tagProtocol: Int, control: Int)] = []
  var source: Bytes
  var destination: Bytes
  var next: Int
  /// The whole of what is above IP, checksum included.
  var payload: Bytes
  var trafficClass = 0
  var hopLimit = 64
  var identification = 0x4444
  var fragment = 0x4000
  var flowLabel = 0x12345
  /// IPv4 options, of a length that four divides.
  var options: Bytes = []
  /// IPv6 extension headers, each of its type; the last one's successor is `next`.
  var extensions: [(type: Int, body: Bytes)] = []
  /// Behind the packet.
  var padding: Bytes = []
  var version: Int?
  var declaredLength: Int?
  var breaksHeaderChecksum = false

  var bytes: Bytes {
    var frame = to + from
    for tag in tags { frame += be16(tag.tagProtocol) + be16(tag.control) }
    return frame + (source.count == 4 ? be16(0x0800) + ipv4 : be16(0x86dd) + ipv6) + padding
  }

  private var ipv4: Bytes {
    let length = 20 + options.count
    var header: Bytes =
      [UInt8((version ?? 4) << 4 | length / 4), UInt8(trafficClass)]
      + be16(declaredLength ?? length + payload.count) + be16(identification) + be16(fragment)
      + [UInt8(hopLimit), UInt8(next), 0, 0] + source + destination + options
    header.put(
      be16(internetChecksum(header) ^ (breaksHeaderChecksum ? 0x0101 : 0)), at: 10)
    return header + payload
  }

  private var ipv6: Bytes {
    var body: Bytes = []
    for (index, part) in extensions.enumerated() {
      let successor = index + 1 < extensions.count ? extensions[index + 1].type : next
      body += [UInt8(successor)] + part.body
    }
    body += payload
    return be32(UInt32((version ?? 6) << 28 | trafficClass << 20 | flowLabel))
      + be16(declaredLength ?? body.count)
      + [UInt8(extensions.first?.type ?? next), UInt8(hopLimit)] + source + destination + body
  }
}

/// A TCP segment (RFC 9293).
struct SegmentForm {
  var sourcePort: Int
  var destinationPort: Int
  var sequence: UInt32
  var acknowledgement: UInt32
  var flags = 0x10
  var window = 501
  var urgent = 0
  /// Padded with NOPs.
  var options: Bytes = []
  var payload: Bytes = []
  /// In words of four bytes, if it is not to be true.
  var headerWords: Int?
  var reserved = 0

  func bytes(_ source: Bytes, _ destination: Bytes) -> Bytes {
    var options = options
    while options.count % 4 != 0 { options.append(1) }
    let words = headerWords ?? 5 + options.count / 4
    return summed(
      be16(sourcePort) + be16(destinationPort) + be32(sequence) + be32(acknowledgement)
        + [UInt8((words & 15) << 4 | reserved & 15), UInt8(flags & 255)] + be16(window) + be16(0)
        + be16(urgent) + options + payload,
      at: 16, source, destination, Above.tcp)
  }

  static func timestamps(_ value: UInt32, _ echo: UInt32) -> Bytes {
    [1, 1, 8, 10] + be32(value) + be32(echo)
  }
}
