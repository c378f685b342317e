/// Segments of connections that the guest knows, around every boundary, and of others.
extension DifferentialGenerator {
  mutating func segmentFrame(_ number: Int) -> DifferentialFrame? {
    let index = number % flows.count
    guard flows[index].state == .open else { return nil }
    flows[index].timestamp &+= 1
    let flow = flows[index]
    var segment = flow.segment()
    segment.sequence &-= 1
    var words = ["tcp segment\(flow.isIPv6 ? " v6" : ""): keepalive"]
    // A fifth are honest.
    for _ in 0..<pick([0, 1, 1, 1, 1, 2, 2, 3, 1, 1]) { words.append(change(&segment, index)) }
    var packet = packet(of: segment, flow)
    if chance(12) { words.append(disturb(&packet)) }
    if chance(2) {
      packet.payload = Bytes(packet.payload)
      packet.payload.put([0x55, 0xaa], at: 16)
      words.append("wrong checksum")
    }
    return DifferentialFrame(number, words.joined(separator: ", "), packet.bytes)
  }

  private func packet(of segment: SegmentForm, _ flow: DifferentialFlow) -> PacketForm {
    let destination = flow.isIPv6 ? guest.ipv6 : guest.ipv4
    return PacketForm(
      to: guest.mac, from: flow.station.mac, source: flow.source, destination: destination,
      next: Above.tcp, payload: segment.bytes(flow.source, destination))
  }

  private mutating func change(_ segment: inout SegmentForm, _ index: Int) -> String {
    let flow = flows[index]
    switch pick(16) {
    case 0, 1, 2:
      let delta = pick([
        0, 0, 0, 1, 2, 100, 1_000, 65_535, 1 << 30, 0x7fff_ffff, -2, -3, -100, -1_000, -65_536,
        -(1 << 30), -0x8000_0000,
      ])
      segment.sequence = flow.sequence &+ UInt32(truncatingIfNeeded: delta)
      return "SEQ \(delta)"
    case 3, 4:
      segment.payload = bytes(pick([1, 1, 1, 1, 2, 3, 100, 1_000]))
      return "payload of \(segment.payload.count)"
    case 5, 6:
      let delta = pick([
        1, 2, 1_000, 1 << 30, 0x7fff_ffff, -1, -2, -100, -70_000, -(1 << 30), -0x8000_0000,
      ])
      segment.acknowledgement = flow.acknowledgement &+ UInt32(truncatingIfNeeded: delta)
      return "ACK \(delta)"
    case 7:
      segment.flags = pick([
        0x18, 0x18, 0x50, 0x90, 0xd0, 0x30, 0x00, 0x08, 0x02, 0x12, 0x20, 0x38, 0x1a,
      ])
      return "flags \(segment.flags)"
    case 8:
      segment.window = pick([0, 1, 500, 502, 65_535])
      return "window \(segment.window)"
    case 9, 10, 11:
      return changeTimestamps(&segment, index)
    case 12, 13:
      let options: [Bytes] = [
        [5, 10] + be32(flow.acknowledgement &- 20) + be32(flow.acknowledgement &- 10),
        [5, 10] + be32(flow.acknowledgement &+ 20) + be32(flow.acknowledgement &+ 30),
        [254, 4, 1, 2],
        [254, 2], [3, 3, 7], [4, 2], [2, 4, 5, 0xb4], [34, 2], [34, 10] + bytes(8), [0, 0, 0, 0],
        [19, 18] + bytes(16), [29, 4, 0, 0], [254, 0], [254, 1], [254, 40],
        [8, 9, 1, 2, 3, 4, 5, 6, 7],
        [3, 4, 1, 1], [5, 9, 1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 1], [253, 6, 1, 2, 3, 4],
        [30, 4, 0, 0],
      ]
      let option = pick(options)
      segment.options = chance(50) ? segment.options + option : option + segment.options
      if segment.options.count > 40 { segment.options = option }
      return "option \(option.hexadecimal)"
    case 14:
      segment.urgent = pick([0, 1, 5, 65_535])
      segment.reserved = pick([0, 1, 4, 8, 15])
      return "urgent pointer \(segment.urgent), reserved \(segment.reserved)"
    default:
      segment.headerWords = pick([0, 4, 5, 6, 15])
      return "header of \(segment.headerWords ?? 0) words"
    }
  }

  private mutating func changeTimestamps(_ segment: inout SegmentForm, _ index: Int) -> String {
    let flow = flows[index]
    guard flow.hasTimestamps else {
      segment.options = SegmentForm.timestamps(word(), word())
      return "timestamps where there are none"
    }
    var value = flow.timestamp
    var echo = flow.guestTimestamp
    let text: String
    switch pick(9) {
    case 0:
      segment.options = []
      return "no timestamps"
    case 1:
      let delta = pick([1, 2, 3, 1_000, 100_000, 1 << 30])
      value &-= UInt32(delta)
      text = "older by \(delta)"
    case 2:
      value &+= 0x8000_0000
      text = "wrapped"
    case 3:
      // What comes next on this connection must be newer still.
      value &+= 500
      flows[index].timestamp &+= 600
      text = "a leap ahead"
    case 4:
      echo = 0
      text = "echo of nothing"
    case 5:
      let delta = pick([1, 1_000, 1 << 30])
      echo &+= UInt32(delta)
      text = "echo of the future \(delta)"
    case 6:
      let delta = pick([1, 1_000, 1 << 30])
      echo &-= UInt32(delta)
      text = "echo of the past \(delta)"
    case 7:
      segment.options =
        [8, 10] + be32(value) + be32(echo) + [1, 1]
      return "timestamps in another place"
    default:
      segment.options =
        SegmentForm.timestamps(value, echo) + SegmentForm.timestamps(value &+ 9, echo)
      return "timestamps twice"
    }
    segment.options = SegmentForm.timestamps(value, echo)
    return "timestamps: " + text
  }

  /// The end of a connection: each takes one that nothing else uses.
  mutating func victimFrame(_ number: Int) -> DifferentialFrame? {
    guard let flow = victims.popLast(), flow.state == .open else { return nil }
    var segment = flow.segment()
    segment.flags = pick([0x11, 0x11, 0x14, 0x04, 0x19, 0x15, 0xff])
    if chance(30) {
      segment.sequence &+= pick([1, 1_000, 0xffff_ffff, 0x8000_0000, 0x4000_0000])
    }
    return DifferentialFrame(
      number,
      "tcp end\(flow.isIPv6 ? " v6" : ""): flags \(segment.flags), "
        + "SEQ \(Int32(bitPattern: segment.sequence &- flow.sequence))",
      packet(of: segment, flow).bytes)
  }

  /// Segments of connections that there are not: to a port where somebody listens, and to others.
  mutating func strangerFrame(_ number: Int) -> DifferentialFrame? {
    let isIPv6 = chance(50)
    let station = perhapsRefusedStation(number)
    let source = isIPv6 ? station.ipv6 : station.ipv4
    let destination = isIPv6 ? guest.ipv6 : guest.ipv4
    let port = pick([80, 22, 7_777, 1, 4_444, 65_535])
    let flags = pick([0x02, 0x02, 0x10, 0x12, 0x04, 0x14, 0x01, 0x00, 0x29, 0x11, 0x18, 0x42])
    let segment = SegmentForm(
      sourcePort: 20_000 + number % 20_000, destinationPort: port, sequence: word(),
      acknowledgement: word(), flags: flags, payload: chance(20) ? bytes(3) : [])
    var packet = PacketForm(
      to: guest.mac, from: station.mac, source: source, destination: destination, next: Above.tcp,
      payload: segment.bytes(source, destination))
    var text = "tcp stranger\(isIPv6 ? " v6" : ""): port \(port), flags \(flags)"
    if chance(15) { text += ", " + disturb(&packet) }
    return DifferentialFrame(number, text, packet.bytes)
  }
}
