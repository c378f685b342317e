import LinuxSystem

/// A TCP connection to the guest that the tester keeps by hand, so that it can send any segment of it.
struct DifferentialFlow: Sendable {
  let station: DifferentialStation
  let isIPv6: Bool
  let port: Int
  let hasTimestamps: Bool
  let permitsSACK: Bool
  /// SND.NXT of the tester and RCV.NXT, which is the guest's SND.NXT.
  var sequence: UInt32
  var acknowledgement: UInt32 = 0
  /// The next TSval, and the guest's last.
  var timestamp: UInt32
  var guestTimestamp: UInt32 = 0
  var state = State.opening
  var received = 0

  enum State { case opening, open, lost }

  static let service = 80

  var source: Bytes { isIPv6 ? station.ipv6 : station.ipv4 }

  /// A segment that asks for nothing.
  func segment() -> SegmentForm {
    SegmentForm(
      sourcePort: port, destinationPort: Self.service, sequence: sequence,
      acknowledgement: acknowledgement,
      options: hasTimestamps ? SegmentForm.timestamps(timestamp, guestTimestamp) : [])
  }

  func frame(_ segment: SegmentForm, to guest: DifferentialGuest) -> Bytes {
    let destination = isIPv6 ? guest.ipv6 : guest.ipv4
    return PacketForm(
      to: guest.mac, from: station.mac, source: source, destination: destination, next: Above.tcp,
      payload: segment.bytes(source, destination)
    ).bytes
  }

  var opening: SegmentForm {
    var segment = segment()
    segment.flags = 0x02
    segment.acknowledgement = 0
    segment.options = [2, 4, 5, 0xb4]
    if permitsSACK { segment.options += [4, 2] }
    if hasTimestamps { segment.options += SegmentForm.timestamps(timestamp, 0) }
    return segment
  }

  /// Takes a segment of the guest's in; returns what to say to it.
  mutating func take(_ frame: Bytes) -> SegmentForm? {
    let (type, offset) = AnswerKey.network(of: frame)
    let start = offset + (type == 0x0800 ? ((frame.number(offset, 1) ?? 0) & 15) * 4 : 40)
    let end =
      type == 0x0800
      ? offset + (frame.number(offset + 2, 2) ?? 0) : start + (frame.number(offset + 4, 2) ?? 0)
    guard let guestSequence = frame.number(start + 4, 4),
      let words = frame.number(start + 12, 1), let flags = frame.number(start + 13, 1)
    else { return nil }
    let length = max(0, end - start - (words >> 4) * 4)
    if let value = Self.timestamp(in: frame, start + 20, start + (words >> 4) * 4) {
      guestTimestamp = value
    }
    if flags & 0x04 != 0 {
      state = .lost
      return nil
    }
    if flags & 0x02 != 0 {
      guard state == .opening else { return nil }
      acknowledgement = UInt32(truncatingIfNeeded: guestSequence) &+ 1
      sequence &+= 1
      timestamp &+= 1
      state = .open
      var request = segment()
      request.flags = 0x18
      request.payload = Bytes("GET / HTTP/1.1\r\nHost: guest\r\n\r\n".utf8)
      sequence &+= UInt32(request.payload.count)
      return request
    }
    guard UInt32(truncatingIfNeeded: guestSequence) == acknowledgement else { return nil }
    if flags & 0x01 != 0 { state = .lost }
    guard length > 0 else { return nil }
    acknowledgement &+= UInt32(length)
    received += length
    timestamp &+= 1
    return segment()
  }

  /// The TSval of a segment whose options lie there.
  static func timestamp(in frame: Bytes, _ start: Int, _ end: Int) -> UInt32? {
    var offset = start
    while offset < end, let kind = frame.number(offset, 1), kind != 0 {
      guard kind != 1 else {
        offset += 1
        continue
      }
      guard let length = frame.number(offset + 1, 1), length >= 2 else { return nil }
      if kind == 8 { return frame.number(offset + 2, 4).map { UInt32($0) } }
      offset += length
    }
    return nil
  }
}

/// A machine that is not there: the tester speaks for it.
struct DifferentialStation: Sendable, Hashable {
  let mac: Bytes
  let ipv4: Bytes
  let ipv6: Bytes
  let linkLocal: Bytes

  init(_ index: Int, network: Int) {
    mac = [0x02, 0xd1, 0xff, 0, 0, UInt8(index)]
    ipv4 = [10, 77, UInt8(network), UInt8(150 + index)]
    ipv6 = addressBytes("fd77:\(String(network, radix: 16))::d1ff:\(String(index + 1, radix: 16))")
    linkLocal = addressBytes("fe80::d1ff:\(String(index + 1, radix: 16))")
  }
}

/// The guest's addresses.
struct DifferentialGuest: Sendable {
  let mac: Bytes
  let ipv4: Bytes
  let ipv6: Bytes
  let linkLocal: Bytes

  init(_ addresses: LabAddresses) {
    mac = addressBytes(addresses.macAddress)
    ipv4 = addressBytes(addresses.ipv4)
    ipv6 = addressBytes(addresses.ipv6)
    // EUI-64 (RFC 4291, appendix A), which is Linux's choice.
    linkLocal =
      [0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe] + mac[3...5]
  }

  static func solicitedNode(_ address: Bytes) -> Bytes {
    addressBytes("ff02::1:ff00:0").prefix(13) + address.suffix(3)
  }

  static func groupMAC(_ address: Bytes) -> Bytes {
    address.count == 16
      ? [0x33, 0x33] + address.suffix(4)
      : [0x01, 0x00, 0x5e, address[1] & 0x7f, address[2], address[3]]
  }
}
