import Frames

/// Frames written down byte by byte, and a checksum computed the slow way: nothing here shares code
/// with what is tested.
typealias Bytes = [UInt8]

func be16(_ value: Int) -> Bytes { [UInt8(value >> 8 & 255), UInt8(value & 255)] }
func be32(_ value: UInt32) -> Bytes { (0..<4).map { UInt8(value >> UInt32(24 - 8 * $0) & 255) } }
func be64(_ value: UInt64) -> Bytes { (0..<8).map { UInt8(value >> UInt64(56 - 8 * $0) & 255) } }

func number(_ bytes: Bytes, _ offset: Int, _ count: Int) -> UInt64 {
  bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
}

func slowChecksum(_ bytes: Bytes) -> Int {
  var sum = 0
  for index in stride(from: 0, to: bytes.count, by: 2) {
    sum += Int(bytes[index]) << 8 | (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
    if sum > 0xffff { sum -= 0xffff }
  }
  return ~sum & 0xffff
}

func wireForm(_ mac: MACAddress) -> Bytes { Bytes(be64(mac.rawValue)[2...]) }

func wireForm(_ address: IPAddress) -> Bytes {
  switch address {
  case .v4(let address): be32(address.rawValue)
  case .v6(let address): be64(address.high) + be64(address.low)
  }
}

func pseudoHeader(_ source: IPAddress, _ destination: IPAddress, _ next: Int, _ length: Int)
  -> Bytes
{
  wireForm(source) + wireForm(destination) + be32(UInt32(length)) + [0, 0, 0, UInt8(next)]
}

func ethernet(
  to destination: MACAddress, from source: MACAddress, tags: [Int] = [], type: Int,
  _ payload: Bytes
) -> Bytes {
  var frame = wireForm(destination) + wireForm(source)
  for (index, tag) in tags.enumerated() {
    frame += be16(index == 0 && tags.count == 2 ? 0x88a8 : 0x8100) + be16(tag)
  }
  return frame + be16(type) + payload
}

/// An IP packet of the addresses' family; `options` are IPv4 options or IPv6 extension headers, the
/// first of which is of type `optionType`.
func ip(
  _ source: IPAddress, _ destination: IPAddress, _ next: Int, _ payload: Bytes, hops: Int = 64,
  fragment: Int = 0, options: Bytes = [], optionType: Int = 0
) -> Bytes {
  switch source {
  case .v4:
    var header: Bytes =
      [UInt8(0x45 + options.count / 4), 0] + be16(20 + options.count + payload.count)
      + be16(7) + be16(fragment) + [UInt8(hops), UInt8(next)] + be16(0) + wireForm(source)
      + wireForm(destination) + options
    header.replaceSubrange(10..<12, with: be16(slowChecksum(header)))
    return header + payload
  case .v6:
    return [0x60, 0, 0, 0] + be16(options.count + payload.count)
      + [UInt8(options.isEmpty ? next : optionType), UInt8(hops)] + wireForm(source)
      + wireForm(destination) + options + payload
  }
}

func etherType(_ address: IPAddress) -> Int {
  if case .v4 = address { 0x0800 } else { 0x86dd }
}

/// Puts the right checksum into a transport packet.
func summed(
  _ packet: Bytes, at offset: Int, _ source: IPAddress, _ destination: IPAddress, _ next: Int,
  pseudo: Bool = true
) -> Bytes {
  var packet = packet
  let covered = (pseudo ? pseudoHeader(source, destination, next, packet.count) : []) + packet
  packet.replaceSubrange(offset..<offset + 2, with: be16(slowChecksum(covered)))
  return packet
}

struct TCPFields {
  var source: IPAddress
  var destination: IPAddress
  var sourcePort = 40000
  var destinationPort = 22
  var sequence: UInt32 = 0
  var acknowledgement: UInt32 = 0
  var flags: TCPFlags = .ack
  var window = 1000
  var timestamps: (UInt32, UInt32)?
  var options: Bytes = []
  var payload: Bytes = []

  var bytes: Bytes {
    var options = options
    if let timestamps {
      options += [1, 1, 8, 10] + be32(timestamps.0) + be32(timestamps.1)
    }
    while options.count % 4 != 0 { options.append(1) }
    let segment: Bytes =
      be16(sourcePort) + be16(destinationPort) + be32(sequence) + be32(acknowledgement)
      + [UInt8(((20 + options.count) / 4) << 4), flags.rawValue] + be16(window) + be16(0) + be16(0)
      + options + payload
    return summed(segment, at: 16, source, destination, 6)
  }
}

func udp(
  _ source: IPAddress, _ destination: IPAddress, from: Int, to: Int, _ payload: Bytes = [1]
) -> Bytes {
  summed(
    be16(from) + be16(to) + be16(8 + payload.count) + be16(0) + payload, at: 6, source,
    destination, 17)
}

/// An ICMP or ICMPv6 message, by the addresses' family.
func icmp(
  _ source: IPAddress, _ destination: IPAddress, type: Int, code: Int = 0, _ body: Bytes
) -> Bytes {
  let message: Bytes = [UInt8(type), UInt8(code), 0, 0] + body
  if case .v4 = source {
    return summed(message, at: 2, source, destination, 1, pseudo: false)
  }
  return summed(message, at: 2, source, destination, 58)
}

func arp(_ operation: Int, _ mac: MACAddress, _ ip: IPAddress, _ tmac: MACAddress, _ tip: IPAddress)
  -> Bytes
{
  [0, 1, 8, 0, 6, 4] + be16(operation) + wireForm(mac) + wireForm(ip) + wireForm(tmac)
    + wireForm(tip)
}

/// What is wrong with a frame's checksums and lengths; `nil` if nothing is.
func defect(in frame: Bytes) -> String? {
  var offset = 12
  while number(frame, offset, 2) == 0x8100 || number(frame, offset, 2) == 0x88a8 { offset += 4 }
  let type = number(frame, offset, 2)
  offset += 2
  let next: Int
  let transport: Int
  let addresses: Bytes
  switch type {
  case 0x0806:
    return frame.count == offset + 28 ? nil : "ARP of \(frame.count - offset) bytes"
  case 0x0800:
    let length = Int(frame[offset] & 15) * 4
    guard Int(number(frame, offset + 2, 2)) == frame.count - offset else { return "IPv4 length" }
    guard slowChecksum(Bytes(frame[offset..<offset + length])) == 0 else { return "IPv4 checksum" }
    next = Int(frame[offset + 9])
    transport = offset + length
    addresses = Bytes(frame[offset + 12..<offset + 20])
  case 0x86dd:
    guard Int(number(frame, offset + 4, 2)) == frame.count - offset - 40 else {
      return "IPv6 length"
    }
    let hasOptions = frame[offset + 6] == 0
    next = Int(hasOptions ? frame[offset + 40] : frame[offset + 6])
    transport = offset + (hasOptions ? 48 : 40)
    addresses = Bytes(frame[offset + 8..<offset + 40])
  default:
    return "EtherType \(type)"
  }
  let packet = Bytes(frame[transport...])
  let covered =
    next == 1 || next == 2
    ? packet : addresses + be32(UInt32(packet.count)) + [0, 0, 0, UInt8(next)] + packet
  return slowChecksum(covered) == 0 ? nil : "transport checksum of protocol \(next)"
}

/// A small, fast, reproducible generator (splitmix64).
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

func parse(_ frame: Bytes, checksums: ChecksumPolicy = .verify) throws -> NetworkPacket {
  try frame.withUnsafeBytes { bytes in
    try NetworkPacket(
      parsing: bytes, after: try EthernetHeader(parsing: bytes), checksums: checksums)
  }
}

/// The code of the error that parsing throws; `nil` if it throws none.
func parseFailure(_ frame: Bytes) -> FrameError.Code? {
  do {
    _ = try parse(frame)
    return nil
  } catch {
    return (error as? FrameError)?.code
  }
}
