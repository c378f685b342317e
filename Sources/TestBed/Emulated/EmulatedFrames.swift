/// Frames between an emulated guest and its client, built by hand: deliberately not by the product's own
/// code, which they are to try.
struct EmulatedFrames {
  /// Of the one client that all guests talk to.
  static let clientMAC: [UInt8] = [0x02, 0x00, 0x00, 0x77, 0x77, 0x77]
  static let clientAddress: [UInt8] = [10, 255, 255, 1]
  static let guestPort: UInt16 = 7_777
  static let firstClientPort: UInt16 = 40_000
  /// Where all connections stand: the next byte of the guest, and of the client.
  static let guestSequence: UInt32 = 0x1000_0000
  static let clientSequence: UInt32 = 0x2000_0000

  let mac: [UInt8]
  let address: [UInt8]

  /// - Parameter number: of the guest, from 0 to 65535.
  init(guest number: Int) {
    let bytes = [UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number)]
    mac = [0x52, 0x54, 0x01, 0x00] + bytes
    address = [10, 1] + bytes
  }

  /// The guest's answer to the client's question for its address (RFC 826), unasked.
  var assertion: [UInt8] {
    Self.clientMAC + mac + [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2] + mac + address
      + Self.clientMAC + Self.clientAddress
  }

  /// The client's question for the guest's address, to the guest alone, as when a neighbour entry has aged.
  var question: [UInt8] {
    mac + Self.clientMAC + [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1] + Self.clientMAC
      + Self.clientAddress + [0, 0, 0, 0, 0, 0] + address
  }

  /// An ICMP echo request (RFC 792) with 56 bytes of data, as ping's.
  func ping(_ number: UInt16) -> [UInt8] {
    let data = [8, 0, 0, 0, 0x77, 0x77] + Self.bytes(number) + [UInt8](repeating: 0x2a, count: 56)
    return packet(protocolNumber: 1, data, checksumAt: 2, coversAddresses: false)
  }

  /// The guest's answer to such a request: who is seen to answer is answered for.
  var echoReply: [UInt8] {
    let data = [0, 0, 0, 0, 0x77, 0x77, 0, 1] + [UInt8](repeating: 0x2a, count: 56)
    return packet(
      protocolNumber: 1, data, checksumAt: 2, coversAddresses: false, isFromGuest: true)
  }

  /// A TCP keepalive probe (RFC 9293, 3.8.4) on one of the guest's connections.
  func keepalive(flow: Int) -> [UInt8] {
    segment(flow: flow, sequence: Self.clientSequence &- 1, flags: 0x10, payload: [])
  }

  /// Payload that the guest has not received yet.
  func payload(flow: Int, offset: Int = 0, _ bytes: [UInt8]) -> [UInt8] {
    segment(
      flow: flow, sequence: Self.clientSequence &+ UInt32(offset), flags: 0x18, payload: bytes)
  }

  private func segment(
    flow: Int, sequence: UInt32, flags: UInt8, payload: [UInt8]
  ) -> [UInt8] {
    let header =
      Self.bytes(Self.firstClientPort + UInt16(flow)) + Self.bytes(Self.guestPort)
      + Self.bytes(sequence) + Self.bytes(Self.guestSequence) + [0x50, flags]
      + Self.bytes(UInt16(502)) + [0, 0, 0, 0]
    return packet(protocolNumber: 6, header + payload, checksumAt: 16, coversAddresses: true)
  }

  /// A whole IPv4 frame from the client to the guest, or the other way.
  private func packet(
    protocolNumber: UInt8, _ transport: [UInt8], checksumAt place: Int, coversAddresses: Bool,
    isFromGuest: Bool = false
  ) -> [UInt8] {
    let addresses = isFromGuest ? address + Self.clientAddress : Self.clientAddress + address
    var header: [UInt8] =
      [0x45, 0] + Self.bytes(UInt16(20 + transport.count))
      + [0x11, 0x22, 0x40, 0, 64, protocolNumber, 0, 0] + addresses
    header.replaceSubrange(10..<12, with: Self.bytes(Self.checksum(header)))
    let pseudo =
      coversAddresses ? addresses + [0, protocolNumber] + Self.bytes(UInt16(transport.count)) : []
    var body = transport
    body.replaceSubrange(place..<place + 2, with: Self.bytes(Self.checksum(pseudo + transport)))
    let link = isFromGuest ? Self.clientMAC + mac : mac + Self.clientMAC
    return link + [0x08, 0x00] + header + body
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

  private static func bytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }
}
