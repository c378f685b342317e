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
      /// That duplicates may be told of (RFC 2883).
      case permission
    }

    let kind: Kind
    let flow: [UInt8]
    let value: UInt64
  }

  /// The addresses that the guest has asserted on the link.
  private var asserted: Set<[UInt8]> = []
  private var words: Set<Word> = []
  /// The addresses from which it has answered an echo request.
  private var echoing: Set<[UInt8]> = []
  var refusals: RefusalWitness

  init(at now: UInt64) {
    refusals = RefusalWitness(at: now)
  }

  /// Somebody sends to the guest while it is awake.
  mutating func hear(toGuest bytes: [UInt8]) {
    if let frame = WireFrame(bytes) { refusals.hear(toGuest: frame) }
  }

  mutating func hear(fromGuest bytes: [UInt8]) {
    guard let frame = WireFrame(bytes), frame.source.elementsEqual(Station.guest.mac) else {
      return
    }
    refusals.hear(fromGuest: frame)
    if frame.type == 0x0806, bytes.count >= frame.network + 28 {
      asserted.insert([UInt8](bytes[frame.network + 14..<frame.network + 18]))
    }
    guard let packet = frame.packet else { return }
    let start = packet.transport.lowerBound
    if packet.isIPv6, packet.protocolNumber == 58, packet.transport.count >= 24 {
      if bytes[start] == 135 { asserted.insert([UInt8](packet.source)) }
      if bytes[start] == 136 { asserted.insert([UInt8](bytes[start + 8..<start + 24])) }
    }
    if !packet.transport.isEmpty, packet.protocolNumber == (packet.isIPv6 ? 58 : 1),
      bytes[start] == (packet.isIPv6 ? 129 : 0)
    {
      echoing.insert([UInt8](packet.source))
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
    if segment.flags & 0x02 != 0, segment.options.contains(4) { remember(.permission, 1) }
    for position in segment.options.indices.dropLast(3) {
      remember(.timestamp, bigEndian(bytes, position, 4))
    }
  }

  /// Judges all answers to one frame.
  /// - Throws: ``FuzzFinding``.
  mutating func judge(
    _ answers: [[UInt8]], to question: [UInt8], at now: UInt64
  ) throws(FuzzFinding) {
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
      try judge(frame, to: asked, at: now)
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

  private mutating func judge(
    _ answer: WireFrame, to asked: WireFrame, at now: UInt64
  ) throws(FuzzFinding) {
    guard let packet = answer.packet else {
      let body = answer.bytes[answer.network...]
      try demand(body.dropFirst(8).prefix(6).elementsEqual(Station.guest.mac), "a false ARP sender")
      let question = asked.bytes[asked.network...].dropFirst(14)
      try demand(
        body.dropFirst(14).prefix(4).elementsEqual(question.dropFirst(10).prefix(4)),
        "an ARP answer about another address")
      try demand(
        !question.prefix(4).elementsEqual(question.dropFirst(10).prefix(4)),
        "a claim to the guest's address is answered")
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
      try demand(
        echoing.contains([UInt8](packet.source)), "an echo for a guest that was heard to send none")
    case (1, 3), (58, 1):
      try refusals.judge(unreachable: body, packet, to: asked, at: now)
    case (58, 136):
      let target = body.dropFirst(8).prefix(16)
      try demand(isAsserted(target), "a false advertisement")
      guard let question = asked.packet, asked.bytes[question.transport.lowerBound] == 135 else {
        throw FuzzFinding("an advertisement that nobody asked for")
      }
      try demand(
        target.elementsEqual(asked.bytes[question.transport].dropFirst(8).prefix(16)),
        "an advertisement of another address")
      try demand(
        body.count == 24 || body.dropFirst(26).elementsEqual(Station.guest.mac),
        "an advertisement of another machine")
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
    if segment.flags & 0x04 != 0 {
      return try refusals.judge(reset: segment, packet, to: probed, probe, in: asked)
    }
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
    var options = segment.options
    if options.starts(with: [1, 1, 8, 10]), options.count >= 12 {
      try demand(
        said(.timestamp, bigEndian(answer.bytes, options.startIndex + 4, 4)),
        "a timestamp that is not the guest's")
      let echo = options.dropFirst(8).prefix(4)
      try demand(
        probed.options.indices.dropLast(3).contains {
          asked.bytes[$0..<$0 + 4].elementsEqual(echo)
        }, "an echo of another timestamp")
      options = options.dropFirst(12)
    }
    guard !options.isEmpty else { return }
    try demand(
      options.count == 12 && options.starts(with: [1, 1, 5, 10])
        && bigEndian(answer.bytes, options.startIndex + 4, 4) == UInt64(probed.sequence)
        && bigEndian(answer.bytes, options.startIndex + 8, 4) == UInt64(probed.sequence &+ 1)
        && probed.payloadLength == 1, "options that no guest sends")
    try demand(said(.permission, 1), "a duplicate is told of to who cannot have asked for it")
  }

  private func isAsserted(_ address: some Sequence<UInt8>) -> Bool {
    asserted.contains([UInt8](address))
  }
}
