/// Echo requests and other messages, datagrams, and what is none of that.
extension DifferentialGenerator {
  mutating func echoFrame(_ number: Int) -> DifferentialFrame? {
    let isIPv6 = chance(50)
    let station = chance(90) ? stations[number % Self.pingingStations] : station(number)
    let header = isIPv6 ? 48 : 28
    let size = pick([0, 1, 8, 56, 57, 200, 512, 1_000, 1_500 - header - 1, 1_500 - header])
    var code = 0
    var text = "echo\(isIPv6 ? " v6" : ""): \(size) bytes"
    if chance(5) {
      code = pick([1, 3, 255])
      text += ", code \(code)"
    }
    var source = isIPv6 ? station.ipv6 : station.ipv4
    var destination = isIPv6 ? guest.ipv6 : guest.ipv4
    if isIPv6, chance(20) {
      (source, destination) = (station.linkLocal, guest.linkLocal)
      text += ", link-local"
    } else if chance(5) {
      source = strangeAddress(number, isIPv6: isIPv6)
      text += ", from one that it must ask for"
    }
    let message =
      Bytes([isIPv6 ? 128 : 8, UInt8(code), 0, 0]) + be32(UInt32(truncatingIfNeeded: number))
      + bytes(size)
    var packet = PacketForm(
      to: guest.mac, from: station.mac, source: source, destination: destination,
      next: isIPv6 ? Above.icmpv6 : Above.icmp, payload: [],
      fragment: chance(50) ? 0x4000 : 0)
    packet.payload = summed(message, at: 2, source, destination, packet.next)
    if chance(5) {
      packet.payload.put(pick([[0, 0], [0xff, 0xff], [1, 2]]), at: 2)
      text += ", wrong checksum"
    }
    if chance(30) {
      text += ", " + disturb(&packet)
      // The checksum covers addresses.
      if isIPv6, packet.source != source || packet.destination != destination {
        packet.payload = summed(message, at: 2, packet.source, packet.destination, packet.next)
      }
    }
    return DifferentialFrame(number, text, packet.bytes)
  }

  mutating func otherICMP(_ number: Int) -> DifferentialFrame? {
    let isIPv6 = chance(50)
    let station = station(number)
    let type =
      isIPv6
      ? pick([0, 1, 2, 3, 4, 100, 127, 129, 134, 138, 139, 144, 160, 161, 200, 255])
      : pick([0, 3, 4, 5, 9, 10, 11, 12, 13, 13, 14, 15, 17, 30, 40, 42, 43, 255])
    let code = chance(70) ? 0 : pick([1, 3, 4, 255])
    let source = isIPv6 ? station.ipv6 : station.ipv4
    let destination = isIPv6 ? guest.ipv6 : guest.ipv4
    let message =
      Bytes([UInt8(type), UInt8(code), 0, 0]) + be32(UInt32(truncatingIfNeeded: number))
      + bytes(pick([0, 4, 12, 28, 60]))
    var packet = PacketForm(
      to: guest.mac, from: station.mac, source: source, destination: destination,
      next: isIPv6 ? Above.icmpv6 : Above.icmp, payload: [])
    packet.payload = summed(message, at: 2, source, destination, packet.next)
    var text = "icmp\(isIPv6 ? " v6" : ""): type \(type), code \(code)"
    if chance(15) { text += ", " + disturb(&packet) }
    return DifferentialFrame(number, text, packet.bytes)
  }

  mutating func datagramFrame(_ number: Int) -> DifferentialFrame? {
    let isIPv6 = chance(50)
    let station = perhapsRefusedStation(number)
    let source = isIPv6 ? station.ipv6 : station.ipv4
    let destination = isIPv6 ? guest.ipv6 : guest.ipv4
    let port = pick([7_777, 9, 53, 67, 123, 5_353, 33_434])
    let payload = bytes(pick([0, 1, 20, 500]))
    let length = chance(90) ? 8 + payload.count : pick([0, 7, 9 + payload.count, 65_535])
    let datagram =
      be16(30_000 + number % 20_000) + be16(port) + be16(length) + be16(0) + payload
    var packet = PacketForm(
      to: guest.mac, from: station.mac, source: source, destination: destination, next: Above.udp,
      payload: chance(90) ? summed(datagram, at: 6, source, destination, Above.udp) : datagram)
    var text = "udp\(isIPv6 ? " v6" : ""): port \(port), length \(length) of \(datagram.count)"
    if chance(25) { text += ", " + disturb(&packet) }
    return DifferentialFrame(number, text, packet.bytes)
  }

  /// Other protocols above Ethernet and IP, and frames of noise.
  mutating func oddFrame(_ number: Int) -> DifferentialFrame? {
    let station = station(number)
    switch pick(5) {
    case 0:
      let type = pick([
        0x0027, 0x05dc, 0x0801, 0x22f0, 0x8035, 0x8137, 0x8847, 0x8863, 0x88cc, 0x9000,
      ])
      let to = pick([
        guest.mac, Bytes(repeating: 0xff, count: 6), [1, 0x80, 0xc2, 0, 0, 0x21],
        [2, 0, 0, 0, 0, 7],
      ])
      return DifferentialFrame(
        number, "other EtherType: \(type)",
        to + station.mac + be16(type) + bytes(pick([1, 40, 46])))
    case 1:
      let type = pick([0x0800, 0x86dd, 0x0806])
      return DifferentialFrame(
        number, "noise: EtherType \(type)", guest.mac + station.mac + be16(type) + bytes(pick(100)))
    case 2:
      let isIPv6 = chance(50)
      let next = pick([3, 4, 41, 47, 50, 51, 59, 89, 103, 132, 136, 253])
      return DifferentialFrame(
        number, "other protocol\(isIPv6 ? " v6" : ""): \(next)",
        PacketForm(
          to: guest.mac, from: station.mac, source: isIPv6 ? station.ipv6 : station.ipv4,
          destination: isIPv6 ? guest.ipv6 : guest.ipv4, next: next, payload: bytes(24)
        ).bytes)
    default:
      // One byte of an honest echo request or ARP request is another.
      guard let honest = chance(50) ? echoFrame(number) : arpFrame(number) else { return nil }
      var frame = honest.bytes
      let place = pick(min(frame.count, 60))
      frame[place] = UInt8(pick(256))
      return DifferentialFrame(
        number, "one byte: at \(place) is \(frame[place]) in \(honest.description)", frame)
    }
  }
}
