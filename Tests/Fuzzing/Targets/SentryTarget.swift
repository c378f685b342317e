import Frames
import Seamless

extension FuzzTarget {
  /// Learner and sentry as one state machine, fed with frames of both directions, time, sleeps and deaths
  /// of the sentry. Input: whether there is a connection to begin with, then steps.
  static let sentry = FuzzTarget("sentry", maximumLength: 4096) { input in
    var reader = InputReader(input)
    var stage = try SentryStage()
    if reader.byte() & 1 != 0 { try stage.prepare() }
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
      return try replaceSentry()
    }
    if choice & 16 != 0, let frame = WireFrame(last.frame) { last.frame = frame.repaired }
    if last.isFromGuest {
      try send(fromGuest: last.frame)
    } else {
      try send(toGuest: last.frame)
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

  /// The guest asserts its addresses and has an idle connection by each family; then it sleeps.
  mutating func prepare() throws {
    for isIPv6 in [false, true] {
      let guest = Sketches(isIPv6: isIPv6, isFromGuest: true)
      let peer = Sketches(isIPv6: isIPv6, isFromGuest: false)
      let start = connections[isIPv6 ? 1 : 0]
      try send(fromGuest: guest.other(1, 0))
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
      connections[isIPv6 ? 1 : 0].guestSequence &+= 1
      connections[isIPv6 ? 1 : 0].guestAcknowledgement &+= 11
    }
    wait(seconds: 60)
    try fallAsleep()
    try demand(isAsleep, "a guest at rest is kept awake")
  }
}
