/// Remembers what the guest has said, by its own reading of the frames, and judges the sentry's answers
/// by it: they may restate, and nothing else.
struct SentryWitness {
  /// Something that the guest has said about a connection.
  private struct Word: Hashable {
    enum Kind {
      case sequence
      case acknowledgement
      case window
      case timestamp
    }

    let kind: Kind
    let flow: [UInt8]
    let value: UInt64
  }

  /// The addresses that the guest has asserted on the link.
  private var asserted: Set<[UInt8]> = []
  private var words: Set<Word> = []

  mutating func hear(fromGuest bytes: [UInt8]) {
    guard let frame = WireFrame(bytes), frame.source.elementsEqual(Station.guest.mac) else {
      return
    }
    if frame.type == 0x0806, bytes.count >= frame.network + 28 {
      asserted.insert([UInt8](bytes[frame.network + 14..<frame.network + 18]))
    }
    guard let packet = frame.packet else { return }
    let start = packet.transport.lowerBound
    if packet.isIPv6, packet.protocolNumber == 58, packet.transport.count >= 24 {
      if bytes[start] == 135 { asserted.insert([UInt8](packet.source)) }
      if bytes[start] == 136 { asserted.insert([UInt8](bytes[start + 8..<start + 24])) }
    }
    guard let segment = WireSegment(packet, in: bytes) else { return }
    let flow = [UInt8](packet.source + packet.destination) + [UInt8](bytes[start..<start + 4])
    func remember(_ kind: Word.Kind, _ value: UInt64) {
      words.insert(Word(kind: kind, flow: flow, value: value))
    }
    remember(.sequence, UInt64(segment.end))
    // A keepalive of the guest's own lies one below.
    remember(.sequence, UInt64(segment.end &+ 1))
    if segment.flags & 0x10 != 0 {
      remember(.acknowledgement, UInt64(segment.acknowledgement))
      remember(.window, segment.window)
    }
    for position in segment.options.indices.dropLast(3) {
      remember(.timestamp, bigEndian(bytes, position, 4))
    }
  }

  /// Judges all answers to one frame.
  /// - Throws: ``FuzzFinding``.
  func judge(_ answers: [[UInt8]], to question: [UInt8]) throws(FuzzFinding) {
    try demand(!answers.isEmpty, "an answer without a frame")
    var others = 0
    for answer in answers {
      guard let frame = WireFrame(answer), let asked = WireFrame(question) else {
        throw FuzzFinding("an answer that is no frame")
      }
      if let defect = frame.defect { throw FuzzFinding("an answer with \(defect)") }
      try demand(frame.source.elementsEqual(Station.guest.mac), "an answer of another machine")
      try demand(frame.tagsAndType == asked.tagsAndType, "an answer in another VLAN or protocol")
      if try !isReport(frame) { others += 1 }
      try judge(frame, to: asked)
    }
    // A group that is asked for is reported in a frame of its own, as the guest would do.
    try demand(others <= 1 && answers.count <= 64, "\(answers.count) answers to one frame")
  }

  private func isReport(_ frame: WireFrame) throws(FuzzFinding) -> Bool {
    guard let packet = frame.packet else { return false }
    let type = frame.bytes[packet.transport.lowerBound]
    return packet.isIPv6
      ? packet.protocolNumber == 58 && (type == 131 || type == 143) : packet.protocolNumber == 2
  }

  private func judge(_ answer: WireFrame, to asked: WireFrame) throws(FuzzFinding) {
    guard let packet = answer.packet else {
      let body = answer.bytes[answer.network...]
      try demand(body.dropFirst(8).prefix(6).elementsEqual(Station.guest.mac), "a false ARP sender")
      return try demand(isAsserted(body.dropFirst(14).prefix(4)), "a false ARP claim")
    }
    if try isReport(answer) {
      return try demand(
        isAsserted(packet.source) || packet.source.allSatisfy { $0 == 0 },
        "a report from a foreign address")
    }
    try demand(isAsserted(packet.source), "an answer from an address that the guest never asserted")
    try demand(
      answer.bytes.count <= asked.bytes.count + 60, "an answer that is larger than its question")
    let body = answer.bytes[packet.transport]
    switch (packet.protocolNumber, body.first) {
    case (6, _):
      try judge(packet, in: answer, to: asked)
    case (1, 0), (58, 129):
      guard let echoed = asked.packet else { throw FuzzFinding("an echo of nothing") }
      try demand(
        body.dropFirst(4).elementsEqual(asked.bytes[echoed.transport].dropFirst(4)),
        "an echo of something else")
    case (58, 136):
      try demand(isAsserted(body.dropFirst(8).prefix(16)), "a false advertisement")
      try demand(
        body.dropFirst(26).elementsEqual(Station.guest.mac), "an advertisement of another machine")
    default:
      throw FuzzFinding("an answer of protocol \(packet.protocolNumber)")
    }
  }

  /// A segment may only say again what the guest has said of this connection.
  private func judge(
    _ packet: WirePacket, in answer: WireFrame, to asked: WireFrame
  ) throws(FuzzFinding) {
    guard let segment = WireSegment(packet, in: answer.bytes), let probe = asked.packet,
      let probed = WireSegment(probe, in: asked.bytes)
    else { throw FuzzFinding("a segment that answers none") }
    let start = packet.transport.lowerBound
    let flow =
      [UInt8](packet.source + packet.destination) + [UInt8](answer.bytes[start..<start + 4])
    func said(_ kind: Word.Kind, _ value: UInt64) -> Bool {
      words.contains(Word(kind: kind, flow: flow, value: value))
    }
    try demand(segment.flags == 0x10 && segment.payloadLength == 0, "more than an acknowledgement")
    try demand(
      said(.acknowledgement, UInt64(segment.acknowledgement)),
      "\(segment.acknowledgement) is acknowledged, which the guest never did")
    try demand(
      said(.sequence, UInt64(segment.sequence)), "a sequence number that is not the guest's")
    try demand(said(.window, segment.window), "a window that the guest never offered")
    try demand(
      Int32(bitPattern: segment.acknowledgement &- probed.sequence) > 0,
      "an answer to a probe from the future")
    guard !segment.options.isEmpty else { return }
    let options = segment.options.startIndex
    try demand(
      said(.timestamp, bigEndian(answer.bytes, options + 4, 4)),
      "a timestamp that is not the guest's")
    let echo = answer.bytes[options + 8..<options + 12]
    try demand(
      probed.options.indices.dropLast(3).contains {
        asked.bytes[$0..<$0 + 4].elementsEqual(echo)
      }, "an echo of another timestamp")
  }

  private func isAsserted(_ address: some Sequence<UInt8>) -> Bool {
    asserted.contains([UInt8](address))
  }
}
