import Frames
import Seamless

extension FuzzTarget {
  /// Learner and sentry as one state machine, fed with frames of both directions, time, sleeps and deaths
  /// of the sentry. Input: what there is to begin with, then steps. Bits of the beginning: 0 a connection, 1
  /// refusals and, by bits 2 and 3, known ports, 4 a rule, which is the next byte.
  static let sentry = FuzzTarget("sentry", maximumLength: 4096) { input in
    var reader = InputReader(input)
    var stage = try SentryStage()
    let beginning = reader.byte()
    if beginning & 16 != 0 { stage.rules = [RuleSketch(bits: reader.byte())] }
    if beginning & 1 != 0 {
      try stage.prepare(ports: beginning & 2 == 0 ? nil : UsedPorts(sketch: beginning >> 2))
    }
    var last: (frame: [UInt8], isFromGuest: Bool) = ([], false)
    // An input of steps of one byte is no better for its length.
    for _ in 0..<256 where !reader.isAtEnd {
      try stage.step(&reader, &last)
    }
  }
}

extension SentryStage {
  /// Bits of a step's first byte: 0 to 2 its kind, 3 from the guest, 4 with right checksums, 5 IPv6.
  mutating func step(
    _ reader: inout InputReader, _ last: inout (frame: [UInt8], isFromGuest: Bool)
  ) throws {
    let choice = reader.byte()
    let isFromGuest = choice & 8 != 0
    let sketches = Sketches(isIPv6: choice & 32 != 0, isFromGuest: isFromGuest)
    switch choice & 7 {
    case 0:
      last = (reader.bytes(Int(reader.number16() % 1600)), isFromGuest)
    case 1, 2:
      last = (segment(sketches, &reader), isFromGuest)
    case 3:
      last = (sketches.other(reader.byte(), reader.byte()), isFromGuest)
    case 4:
      return wait(seconds: UInt64(reader.byte()) * (isFromGuest ? 60 : 1))
    case 5:
      if isFromGuest { return wake() }
      return try fallAsleep()
    case 6:
      guard !last.frame.isEmpty else { return }
      let position = Int(reader.number16()) % last.frame.count
      if choice & 64 == 0 {
        last.frame[position] ^= reader.byte()
      } else {
        last.frame.replaceSubrange(position..<position, with: reader.bytes(4))
      }
    default:
      return isFromGuest ? decide(&reader) : try replaceSentry()
    }
    if choice & 16 != 0, let frame = WireFrame(last.frame) { last.frame = frame.repaired }
    if last.isFromGuest {
      try send(fromGuest: last.frame)
    } else {
      try send(toGuest: last.frame)
    }
  }

  /// What the daemon says: rules, or the ports that it will be told of. Bit 0 of a byte: rules, of which
  /// there are as many as the next bits say.
  private mutating func decide(_ reader: inout InputReader) {
    let choice = reader.byte()
    if choice & 1 == 0 {
      ports = UsedPorts(sketch: choice >> 1)
    } else {
      rules = reader.bytes(Int(choice >> 1 & 3)).map { RuleSketch(bits: $0) }
    }
  }

  /// A segment near where the connection stands.
  private mutating func segment(_ sketches: Sketches, _ reader: inout InputReader) -> [UInt8] {
    let family = sketches.isIPv6 ? 1 : 0
    var connection = connections[family]
    let flags = reader.byte()
    let sequence = UInt32(bitPattern: Int32(Int8(bitPattern: reader.byte())))
    let acknowledgement = UInt32(bitPattern: Int32(Int8(bitPattern: reader.byte())))
    let shape = reader.byte()
    let length = Int(shape & 63)
    let step = UInt32(shape >> 7)
    guard sketches.isFromGuest else {
      return sketches.segment(
        sequence: connection.guestAcknowledgement &+ sequence,
        acknowledgement: connection.guestSequence &+ acknowledgement, flags: flags,
        timestamps: shape & 64 == 0 ? (5000 &+ step, connection.timestamp) : nil,
        payloadLength: length)
    }
    connection.timestamp &+= step
    connection.guestAcknowledgement &+= acknowledgement
    let frame = sketches.segment(
      sequence: connection.guestSequence &+ sequence,
      acknowledgement: connection.guestAcknowledgement, flags: flags,
      timestamps: shape & 64 == 0 ? (connection.timestamp, 5000) : nil, payloadLength: length)
    connection.guestSequence &+= sequence &+ UInt32(length)
    connections[family] = connection
    return frame
  }

  /// The guest asserts its addresses, answers an echo request and has an idle connection by each family.
  /// If its ports are known, it has refused its peer port 265, too. Then it sleeps.
  mutating func prepare(ports: UsedPorts?) throws {
    for isIPv6 in [false, true] {
      let guest = Sketches(isIPv6: isIPv6, isFromGuest: true)
      let peer = Sketches(isIPv6: isIPv6, isFromGuest: false)
      let start = connections[isIPv6 ? 1 : 0]
      try send(fromGuest: guest.other(1, 0))
      try send(fromGuest: guest.other(2, 0))
      func peerSegment(_ flags: UInt8, _ sequence: UInt32, _ length: Int = 0) -> [UInt8] {
        peer.segment(
          sequence: start.guestAcknowledgement &+ sequence,
          acknowledgement: start.guestSequence &+ 1,
          flags: flags, timestamps: (5000, start.timestamp), payloadLength: length)
      }
      func guestSegment(_ flags: UInt8, _ sequence: UInt32, _ acknowledgement: UInt32) -> [UInt8] {
        guest.segment(
          sequence: start.guestSequence &+ sequence,
          acknowledgement: start.guestAcknowledgement &+ acknowledgement, flags: flags,
          timestamps: (start.timestamp, 5000), payloadLength: 0)
      }
      try send(toGuest: peerSegment(0x02, 0))
      try send(fromGuest: guestSegment(0x12, 0, 1))
      try send(toGuest: peerSegment(0x10, 1))
      try send(toGuest: peerSegment(0x18, 1, 10))
      try send(fromGuest: guestSegment(0x10, 1, 11))
      if ports != nil {
        try send(toGuest: peer.other(8, 9))
        try send(fromGuest: guest.other(8, 9))
        try send(toGuest: peer.other(5, 9))
        try send(fromGuest: guest.other(6, 9))
      }
      connections[isIPv6 ? 1 : 0].guestSequence &+= 1
      connections[isIPv6 ? 1 : 0].guestAcknowledgement &+= 11
    }
    wait(seconds: 60)
    self.ports = ports
    try fallAsleep()
    try demand(isAsleep, "a guest at rest is kept awake")
    // Or the inputs would be about no connection at all.
    for isIPv6 in [false, true] {
      let connection = connections[isIPv6 ? 1 : 0]
      let probe = Sketches(isIPv6: isIPv6, isFromGuest: false).segment(
        sequence: connection.guestAcknowledgement &- 1, acknowledgement: connection.guestSequence,
        flags: 0x10, timestamps: (5000, connection.timestamp), payloadLength: 0)
      try demand(try send(toGuest: probe), "the keepalive of a connection at rest is not answered")
    }
  }
}
