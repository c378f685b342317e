import Glibc
import TestBed

/// Frames for tests, built by hand: deliberately not by the product's own code, which they are to test.
enum TestFrames {
  static let broadcast = [UInt8](repeating: 0xff, count: 6)

  static func bytes(ofMAC text: String) -> [UInt8] {
    text.split(separator: ":").compactMap { UInt8($0, radix: 16) }
  }

  /// The bytes of a numeric IPv4 or IPv6 address.
  static func bytes(ofAddress text: String) -> [UInt8] {
    let isIPv6 = text.contains(":")
    var bytes = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
    inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &bytes)
    return bytes
  }

  /// An ARP request (RFC 826).
  static func arpRequest(from mac: [UInt8], _ sender: String, for target: String) -> [UInt8] {
    broadcast + mac + [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1] + mac + bytes(ofAddress: sender)
      + [0, 0, 0, 0, 0, 0] + bytes(ofAddress: target)
  }

  /// A question to everybody (RFC 6762) for a printer.
  static func multicastDNS(from mac: [UInt8], _ sender: String) -> [UInt8] {
    let question: [UInt8] =
      [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4] + Array("_ipp".utf8) + [4] + Array("_tcp".utf8)
      + [5] + Array("local".utf8) + [0, 0, 12, 0, 1]
    return ipv4(
      to: [0x01, 0x00, 0x5e, 0, 0, 0xfb], from: mac, sender, "224.0.0.251", 17,
      datagram(question, from: 5_353, to: 5_353), checksumAt: 6)
  }

  /// A TCP SYN (RFC 9293) without options; the checksum is still open.
  static func synSegment(port: UInt16) -> [UInt8] {
    number(40_404) + number(port) + [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0x50, 0x02, 0x72, 0x10]
      + [0, 0, 0, 0]
  }

  /// A RST in the direction against a segment's.
  static func reset(
    from mac: [UInt8], to destination: [UInt8], answering segment: ObservedSegment,
    sequence: UInt32
  ) -> [UInt8] {
    let (local, remote) = (segment.flow.destination, segment.flow.source)
    let ports = [UInt8](local.suffix(2)) + [UInt8](remote.suffix(2))
    let transport =
      ports + number(UInt16(sequence >> 16)) + number(UInt16(sequence & 0xffff))
      + ([0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0] as [UInt8])
    let build = local.count == 6 ? ipv4 : ipv6
    return build(
      destination, mac, text(ofAddress: Array(local.dropLast(2))),
      text(ofAddress: Array(remote.dropLast(2))), 6, transport, 16)
  }

  private static func text(ofAddress bytes: [UInt8]) -> String {
    var text = [CChar](repeating: 0, count: 64)
    inet_ntop(bytes.count == 16 ? AF_INET6 : AF_INET, bytes, &text, socklen_t(text.count))
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// A UDP datagram (RFC 768); the checksum is still open.
  static func datagram(
    _ payload: [UInt8], from source: UInt16 = 40_404, to port: UInt16 = 7_777
  ) -> [UInt8] {
    number(source) + number(port) + number(UInt16(payload.count + 8)) + [0, 0] + payload
  }

  /// A whole IPv4 frame with both checksums.
  ///
  /// - Parameter checksumAt: where the transport's checksum lies in it.
  static func ipv4(
    to destination: [UInt8], from mac: [UInt8], _ sender: String, _ receiver: String,
    _ protocolNumber: UInt8, _ transport: [UInt8], checksumAt place: Int
  ) -> [UInt8] {
    let addresses = bytes(ofAddress: sender) + bytes(ofAddress: receiver)
    var header: [UInt8] =
      [0x45, 0] + number(UInt16(20 + transport.count)) + [0x11, 0x22, 0x40, 0, 64, protocolNumber]
      + [0, 0] + addresses
    header.replaceSubrange(10..<12, with: number(checksum(header)))
    let pseudo = addresses + [0, protocolNumber] + number(UInt16(transport.count))
    return destination + mac + [0x08, 0x00] + header
      + completed(transport, checksumAt: place, pseudo)
  }

  /// A whole IPv6 frame with its transport's checksum.
  static func ipv6(
    to destination: [UInt8], from mac: [UInt8], _ sender: String, _ receiver: String,
    _ protocolNumber: UInt8, _ transport: [UInt8], checksumAt place: Int
  ) -> [UInt8] {
    let addresses = bytes(ofAddress: sender) + bytes(ofAddress: receiver)
    let header = [0x60, 0, 0, 0] + number(UInt16(transport.count)) + [protocolNumber, 64]
    let pseudo = addresses + [0, 0] + number(UInt16(transport.count)) + [0, 0, 0, protocolNumber]
    return destination + mac + [0x86, 0xdd] + header + addresses
      + completed(transport, checksumAt: place, pseudo)
  }

  private static func completed(
    _ transport: [UInt8], checksumAt place: Int, _ pseudoHeader: [UInt8]
  ) -> [UInt8] {
    var result = transport
    result.replaceSubrange(place..<(place + 2), with: number(checksum(pseudoHeader + transport)))
    return result
  }

  /// The Internet checksum (RFC 1071).
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
    }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    return ~UInt16(sum)
  }

  private static func number(_ value: UInt16) -> [UInt8] {
    [UInt8(value >> 8), UInt8(value & 0xff)]
  }
}
