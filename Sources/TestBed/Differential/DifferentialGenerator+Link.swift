/// What a host says to its own link: ARP, neighbour discovery, group membership.
extension DifferentialGenerator {
  mutating func arpFrame(_ number: Int) -> DifferentialFrame? {
    let station = station(number)
    var to = chance(60) ? Bytes(repeating: 0xff, count: 6) : guest.mac
    var from = station.mac
    var head: Bytes = [0, 1, 8, 0, 6, 4]
    var operation = 1
    var senderMAC = station.mac
    var sender = station.ipv4
    var targetMAC = Bytes(repeating: 0, count: 6)
    var target = guest.ipv4
    var tail: Bytes = chance(50) ? Bytes(repeating: 0, count: 18) : []
    var tags: Bytes = []
    var text = "arp: request"
    switch pick(20) {
    case 0:
      sender = [0, 0, 0, 0]
      text = "arp: probe"
    case 1:
      target = strangeAddress(number, isIPv6: false)
      text = "arp: request for another"
    case 2:
      target = sender
      text = "arp: announcement"
    case 3:
      (operation, targetMAC) = (2, guest.mac)
      text = "arp: reply"
    case 4:
      sender = guest.ipv4
      operation = pick([1, 2])
      text = "arp: claim by operation \(operation)"
    case 5:
      head[1] = pick([0, 2, 6, 7, 255])
      text += " of hardware \(head[1])"
    case 6:
      head[3] = pick([1, 6])
      text += " of another protocol"
    case 7:
      head[4] = pick([0, 5, 7, 8])
      text += " with MACs of \(head[4])"
    case 8:
      head[5] = pick([0, 3, 16])
      text += " with addresses of \(head[5])"
    case 9:
      operation = pick([0, 3, 4, 8, 9, 65_535])
      text += " with operation \(operation)"
    case 10:
      sender = pick([
        [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [8, 8, 8, 8], [0, 0, 0, 1],
        [10, 77, UInt8(network), 255], [10, 77, UInt8(network), 0], [10, 99, 9, 9], [240, 1, 1, 1],
        [169, 254, 7, 7],
      ])
      text += " from \(sender)"
    case 11:
      target = pick([
        [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0],
        [10, 77, UInt8(network), 255], [239, 77, 0, 1],
      ])
      text += " for \(target)"
    case 12:
      senderMAC = pick([
        [0x02, 0xd1, 0xff, 0, 1, UInt8(number & 255)], Bytes(repeating: 0, count: 6),
        Bytes(repeating: 0xff, count: 6), [1, 0, 0x5e, 0, 0, 1], guest.mac,
      ])
      text += " by \(senderMAC.hexadecimal)"
    case 13:
      targetMAC = pick([guest.mac, Bytes(repeating: 0xff, count: 6), bytes(6)])
      text += " with a target's MAC"
    case 14:
      tail = bytes(pick([1, 4, 18, 200]))
      text += " with \(tail.count) more bytes"
    case 15:
      tags = be16(pick([0x8100, 0x88a8])) + be16(pick([0, 0x6000, 5, 0xfff]))
      text += " with tag \(tags.hexadecimal)"
    case 16:
      to = pick([
        [0x02, 0, 0, 0, 0, 9], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1],
        [1, 0x80, 0xc2, 0, 0, 0x21],
      ])
      text += " to \(to.hexadecimal)"
    case 17:
      from = pick([guest.mac, [0x02, 0xd1, 0xff, 0, 2, UInt8(number & 255)]])
      text += " from MAC \(from.hexadecimal)"
    default:
      break
    }
    var frame =
      to + from + tags + be16(0x0806) + head + be16(operation) + senderMAC + sender + targetMAC
      + target + tail
    if chance(5) {
      frame = Bytes(frame.prefix(pick([15, 20, 30, 41])))
      text += ", cut to \(frame.count)"
    }
    return DifferentialFrame(number, text, frame)
  }

  mutating func neighbourFrame(_ number: Int) -> DifferentialFrame? {
    let station = station(number)
    var source = station.ipv6
    let target = chance(50) ? guest.ipv6 : guest.linkLocal
    var asked = target
    var destination = DifferentialGuest.solicitedNode(target)
    var to = DifferentialGuest.groupMAC(destination)
    var type = 135
    var code = 0
    var flags: UInt8 = 0
    var options: Bytes = [1, 1] + station.mac
    var hopLimit = 255
    var text = "neighbour: solicitation"
    if chance(35) {
      (destination, to) = (target, guest.mac)
      text = "neighbour: solicitation of one"
    }
    switch pick(20) {
    case 0, 1:
      source = addressBytes("::")
      options = []
      text += " by a probe"
    case 2:
      source = addressBytes("::")
      text += " by a probe with its MAC"
    case 3:
      options = []
      text += " without MAC"
    case 4:
      options = pick([
        [1, 0] + station.mac, [1, 2] + station.mac + Bytes(repeating: 0, count: 8), [1, 1, 2, 3],
        [2, 1] + station.mac, [14, 1, 1, 2, 3, 4, 5, 6] + [1, 1] + station.mac,
        [1, 1] + station.mac + [1, 1, 2, 0xd1, 0xff, 0, 9, 9],
        [1, 1] + Bytes(repeating: 0, count: 6),
        [1, 1] + Bytes(repeating: 0xff, count: 6), [1, 1] + guest.mac, [1, 3] + station.mac,
        [1, 1] + station.mac + [9],
      ])
      text += " with options \(options.hexadecimal)"
    case 5:
      hopLimit = pick([0, 1, 64, 254])
      text += " with hop limit \(hopLimit)"
    case 6:
      code = pick([1, 255])
      text += " with code \(code)"
    case 7:
      asked = pick([
        strangeAddress(number, isIPv6: true), addressBytes("ff02::1"), addressBytes("::"),
        addressBytes("fe80::99"), addressBytes("::1"), guest.ipv6.dropLast(1) + [0x99],
      ])
      if chance(50) {
        destination = DifferentialGuest.solicitedNode(asked)
        to = DifferentialGuest.groupMAC(destination)
      }
      text += " for \(asked.hexadecimal)"
    case 8:
      destination = pick([
        addressBytes("ff02::1"), addressBytes("ff02::2"), addressBytes("ff02::1:ff00:99"),
        DifferentialGuest.solicitedNode(guest.ipv6),
        DifferentialGuest.solicitedNode(guest.linkLocal),
        addressBytes(Self.ipv6Group), guest.ipv6, guest.linkLocal,
      ])
      if chance(60) { to = DifferentialGuest.groupMAC(destination) }
      text += " to \(destination.hexadecimal) by \(to.hexadecimal)"
    case 9:
      to = pick([Bytes(repeating: 0xff, count: 6), [0x33, 0x33, 0, 0, 0, 1], guest.mac])
      text += " by \(to.hexadecimal)"
    case 10:
      source = pick([
        addressBytes("::1"), addressBytes("ff02::1"), guest.ipv6, guest.linkLocal,
        addressBytes("fe80::7"), addressBytes("2001:db8::3"), addressBytes("::ffff:1.2.3.4"),
      ])
      text += " from \(source.hexadecimal)"
    case 11:
      type = 136
      flags = pick([0, 0x20, 0x40, 0x60, 0xe0])
      asked = chance(50) ? station.ipv6 : target
      options = [2, 1] + station.mac
      text = "neighbour: advertisement \(flags) of \(asked == target ? "its own" : "another")"
      if chance(50) { (destination, to) = (addressBytes("ff02::1"), [0x33, 0x33, 0, 0, 0, 1]) }
    case 12:
      type = pick([133, 137, 139, 140, 141, 151, 200])
      text = "neighbour: type \(type)"
    default:
      break
    }
    let message = Bytes([UInt8(type), UInt8(code), 0, 0, flags, 0, 0, 0]) + asked + options
    var packet = PacketForm(
      to: to, from: station.mac, source: source, destination: destination, next: Above.icmpv6,
      payload: summed(message, at: 2, source, destination, Above.icmpv6), hopLimit: hopLimit,
      flowLabel: 0)
    if chance(8) { text += ", " + disturb(&packet) }
    if chance(3) {
      packet.payload.put([0, 0], at: 2)
      text += ", wrong checksum"
    }
    return DifferentialFrame(number, text, packet.bytes)
  }

  mutating func membershipFrame(_ number: Int) -> DifferentialFrame? {
    chance(50) ? igmpFrame(number) : mldFrame(number)
  }

  private mutating func igmpFrame(_ number: Int) -> DifferentialFrame? {
    let station = station(number)
    let joined = addressBytes(Self.ipv4Group)
    let group = pick([[0, 0, 0, 0], [0, 0, 0, 0], joined, [239, 1, 2, 3], [10, 0, 0, 1]])
    let destination = group == [0, 0, 0, 0] || chance(20) ? [224, 0, 0, 1] : group
    var message: Bytes = [0x11, 1, 0, 0] + group + [2, 125, 0, 0]
    var text = "igmp: query of \(group)"
    if speaksOldVersions, chance(60) {
      message = [0x11, 1, 0, 0] + group
      text += ", version 2"
    }
    switch pick(8) {
    case 0:
      message += [0]
      text += ", longer"
    case 1:
      message = Bytes(message.prefix(pick([4, 7, 9, 11])))
      text += ", cut to \(message.count)"
    case 2 where message.count == 12:
      message.put([0, 1], at: 10)
      message += [10, 1, 1, 1]
      text += ", with a source"
    case 3:
      message[0] = pick([0x12, 0x13, 0x16, 0x17, 0x22, 0x30])
      text = "igmp: type \(message[0])"
    default:
      break
    }
    var packet = PacketForm(
      to: DifferentialGuest.groupMAC(destination), from: station.mac, source: station.ipv4,
      destination: destination, next: Above.igmp,
      payload: message.count < 4 ? message : summed(message, at: 2, [], [], Above.igmp),
      hopLimit: 1,
      options: [0x94, 4, 0, 0])
    switch pick(8) {
    case 0: packet.options = []
    case 1: packet.hopLimit = 64
    case 2: packet.payload.put([1, 1], at: 2)
    case 3: text += ", " + disturb(&packet)
    default: break
    }
    return DifferentialFrame(number, text, packet.bytes, isSlow: true)
  }

  private mutating func mldFrame(_ number: Int) -> DifferentialFrame? {
    let station = station(number)
    let any = Bytes(repeating: 0, count: 16)
    let group = pick([
      any, any, addressBytes(Self.ipv6Group), DifferentialGuest.solicitedNode(guest.ipv6),
      addressBytes("ff05::99"), guest.ipv6, addressBytes("ff02::1"),
    ])
    let destination =
      group == any || group[0] != 0xff || chance(20) ? addressBytes("ff02::1") : group
    var message: Bytes = [130, 0, 0, 0, 0, 1, 0, 0] + group + [2, 125, 0, 0]
    var text = "mld: query of \(group.hexadecimal)"
    if speaksOldVersions, chance(60) {
      message = Bytes([130, 0, 0, 0, 0, 100, 0, 0]) + group
      text += ", version 1"
    }
    switch pick(8) {
    case 0:
      message += [0]
      text += ", longer"
    case 1:
      message = Bytes(message.prefix(pick([8, 23, 25, 27])))
      text += ", cut to \(message.count)"
    case 2 where message.count == 28:
      message.put([0, 1], at: 26)
      message += addressBytes("fd00::9")
      text += ", with a source"
    default:
      break
    }
    let source =
      chance(85)
      ? station.linkLocal
      : pick([station.ipv6, any, guest.linkLocal])
    var packet = PacketForm(
      to: DifferentialGuest.groupMAC(destination), from: station.mac, source: source,
      destination: destination, next: Above.icmpv6,
      payload: summed(message, at: 2, source, destination, Above.icmpv6), hopLimit: 1,
      extensions: [(0, [0, 5, 2, 0, 0, 1, 0])])
    switch pick(8) {
    case 0:
      packet.extensions = pick([[], [(0, [0, 1, 4, 0, 0, 0, 0])], [(0, [0, 5, 2, 0, 1, 1, 0])]])
    case 1: packet.hopLimit = pick([2, 64, 255])
    case 2: packet.payload.put([1, 1], at: 2)
    case 3: text += ", " + disturb(&packet)
    default: break
    }
    return DifferentialFrame(number, text, packet.bytes, isSlow: true)
  }
}
