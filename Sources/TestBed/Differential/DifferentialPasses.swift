import LinuxSystem

/// The tester's conversations with the guest and with its sentry. They wait, each at most for a while.
extension DifferentialWire {
  /// How long an answer may take on a machine that has much else to do.
  private static let patience = Duration.seconds(15)
  /// Frames that the guest has room for at once, with plenty to spare.
  private static let handful = 32

  /// Opens connections: handshake, one request, its answer; what fails is marked as lost.
  func open(_ flows: [DifferentialFlow], to guest: DifferentialGuest) throws -> [DifferentialFlow] {
    var flows = flows
    var places: [AnswerKey: Int] = [:]
    for start in stride(from: 0, to: flows.count, by: Self.handful) {
      let some = start..<min(start + Self.handful, flows.count)
      for index in some {
        let frame = flows[index].frame(flows[index].opening, to: guest)
        places[AnswerKey(ofQuestion: frame)] = index
        try send(frame)
      }
      let clock = ContinuousClock()
      let end = clock.now + Self.patience
      // The page is one segment or two; a tenth of a second of silence is its end.
      while clock.now < end {
        let frames = try receive(within: .milliseconds(150)) { !$0.isEmpty }
        if frames.isEmpty, some.allSatisfy({ flows[$0].received > 0 }) { break }
        for frame in frames {
          guard let key = AnswerKey(ofAnswer: frame), let index = places[key] else { continue }
          if let answer = flows[index].take(frame) {
            try send(flows[index].frame(answer, to: guest))
          }
        }
      }
      for index in some where flows[index].received == 0 { flows[index].state = .lost }
    }
    return flows
  }

  /// Finds out which connections still stand where both ends know them to be, and takes the guest's clock
  /// over.
  func refresh(_ flows: [DifferentialFlow], to guest: DifferentialGuest) throws
    -> [DifferentialFlow]
  {
    var flows = flows
    try discard()
    for start in stride(from: 0, to: flows.count, by: Self.handful) {
      let some = (start..<min(start + Self.handful, flows.count)).filter {
        flows[$0].state == .open
      }
      var places: [AnswerKey: Int] = [:]
      for index in some {
        flows[index].timestamp &+= 1_000
        // The window of an earlier frame may have been anything.
        try send(flows[index].frame(flows[index].segment(), to: guest))
        var probe = flows[index].segment()
        probe.sequence &-= 1
        let frame = flows[index].frame(probe, to: guest)
        places[AnswerKey(ofQuestion: frame)] = index
        try send(frame)
      }
      var standing = Set<Int>()
      _ = try receive(within: Self.patience / 3) { frames in
        standing = []
        for frame in frames {
          guard let key = AnswerKey(ofAnswer: frame), let index = places[key] else { continue }
          let (type, offset) = AnswerKey.network(of: frame)
          let segment = offset + (type == 0x0800 ? 20 : 40)
          let flow = flows[index]
          guard frame.number(segment + 4, 4) == Int(flow.acknowledgement),
            frame.number(segment + 8, 4) == Int(flow.sequence),
            frame.number(segment + 13, 1) == 0x10
          else { continue }
          let end = segment + ((frame.number(segment + 12, 1) ?? 0) >> 4) * 4
          if let value = DifferentialFlow.timestamp(in: frame, segment + 20, end) {
            flows[index].guestTimestamp = value
          }
          standing.insert(index)
        }
        return standing.count == some.count
      }
      for index in some where !standing.contains(index) { flows[index].state = .lost }
    }
    return flows
  }

  /// Ends the connections that the guest has closed, and those that it repeats something of because an
  /// answer came too late for it; they are lost. The others stay as they are.
  func settle(_ flows: inout [DifferentialFlow], to guest: DifferentialGuest) throws {
    var resets = takeLooseEnds()
    for frame in try receive(within: .milliseconds(100), until: { _ in false }) {
      guard let segment = GuestSegment(in: frame), segment.flags & 0x04 == 0,
        segment.flags & 0x03 != 0 || segment.payloadLength > 0,
        let key = AnswerKey(ofAnswer: frame)
      else { continue }
      resets[key] = segment.reset
    }
    resets.merge(takeLooseEnds()) { $1 }
    for reset in resets.values { try send(reset) }
    for index in flows.indices {
      let key = AnswerKey(ofQuestion: flows[index].frame(flows[index].segment(), to: guest))
      if resets[key] != nil { flows[index].state = .lost }
    }
  }

  /// Has the guest answer each of these, so that the sentry learns what it says.
  func beAnswered(_ frames: [Bytes]) throws {
    for start in stride(from: 0, to: frames.count, by: Self.handful) {
      let some = frames[start..<min(start + Self.handful, frames.count)]
      let keys = Set(some.map { AnswerKey(ofQuestion: $0) })
      for frame in some { try send(frame) }
      _ = try receive(within: Self.patience) { frames in
        keys.isSubset(of: frames.compactMap { AnswerKey(ofAnswer: $0) })
      }
    }
  }

  /// Sends frames to the sentry and compares its answers, byte for byte, with what its logic says.
  ///
  /// - Returns: for each handful whose answers are others: the number of its first frame, and what is
  ///   wrong.
  func askSentry(_ frames: [(frame: DifferentialFrame, answers: [Bytes])]) throws
    -> [(number: Int, text: String)]
  {
    var complaints: [(Int, String)] = []
    try discard()
    for start in stride(from: 0, to: frames.count, by: 2 * Self.handful) {
      let some = frames[start..<min(start + 2 * Self.handful, frames.count)]
      let expected = some.flatMap(\.answers)
      for (frame, _) in some { try send(frame.bytes) }
      var received = try receive(within: Self.patience) { $0.count >= expected.count }
      if some.endIndex == frames.count {
        received += try receive(within: .milliseconds(100)) { _ in false }
      }
      guard received.map(\.withoutChance) != expected.map(\.withoutChance) else {
        continue
      }
      let place = zip(received, expected).enumerated().first {
        $0.element.0.withoutChance != $0.element.1.withoutChance
      }
      complaints.append(
        (
          some[some.startIndex].frame.number,
          "the sentry gave \(received.count) answers to \(some.count) frames from this one on, "
            + "its logic \(expected.count); the first other one is "
            + "\(place.map { "\($0.element.0.hexadecimal) for \($0.element.1.hexadecimal)" } ?? "missing")"
        ))
      try discard()
    }
    return complaints
  }

  /// Sends frames to the awake guest.
  ///
  /// - Parameters:
  ///   - expected: how many answers are expected of each; those are waited for.
  ///   - marker: makes an echo request of a machine that sends nothing else.
  /// - Returns: the guest's answers to each frame.
  func askGuest(
    _ frames: [DifferentialFrame], expected: [Int], marker: (UInt32) -> Bytes
  ) throws -> [[Bytes]] {
    var answers = [[Bytes]](repeating: [], count: frames.count)
    var latest: [AnswerKey: Int] = [:]
    func sort(_ received: [Bytes]) {
      for frame in received {
        guard let key = AnswerKey(ofAnswer: frame), let index = latest[key] else { continue }
        answers[index].append(frame)
      }
    }
    try discard()
    var next = 0
    var count: UInt32 = 0
    while next < frames.count {
      var keys = Set<AnswerKey>()
      let start = next
      while next < frames.count, next - start < Self.handful, keys.insert(frames[next].key).inserted
      {
        if frames[next].isSlow, next != start { break }
        latest[frames[next].key] = next
        try send(frames[next].bytes)
        next += 1
        if frames[start].isSlow { break }
      }
      // Segments with payload wait to be merged with their successors (GRO) until the guest has taken all that
      // there is, a marker among it; they come out behind that.
      for _ in 1...3 {
        count += 1
        sort(try awaitMarker(marker(count)))
      }
      if frames[start].isSlow {
        let missing = expected[start] - answers[start].count
        let key = frames[start].key
        sort(
          try receive(within: expected[start] > 0 ? .seconds(3) : .milliseconds(400)) {
            missing > 0 && $0.count { AnswerKey(ofAnswer: $0) == key } >= missing
          })
      }
    }
    // What the guest could answer only after it had asked for somebody's address; on a machine that has much
    // else to do it takes its time.
    sort(try receive(within: .milliseconds(300)) { _ in false })
    let missing = Set(
      frames.indices.filter { answers[$0].count < expected[$0] }.map { frames[$0].key })
    if !missing.isEmpty {
      sort(
        try receive(within: .seconds(3)) { received in
          missing.isSubset(of: received.compactMap { AnswerKey(ofAnswer: $0) })
        })
    }
    return answers
  }

  /// What comes up to the answer to an echo request: the guest takes frames in order.
  private func awaitMarker(_ request: Bytes) throws -> [Bytes] {
    let key = AnswerKey(ofQuestion: request)
    var received: [Bytes] = []
    for _ in 1...3 {
      try send(request)
      received += try receive(within: Self.patience) { frames in
        frames.contains { AnswerKey(ofAnswer: $0) == key }
      }
      if received.contains(where: { AnswerKey(ofAnswer: $0) == key }) { return received }
    }
    throw TestBedError(code: .deadline, message: "the awake guest does not answer echo requests")
  }
}

extension [UInt8] {
  /// Without what two runs of the same logic may do differently: the identification of an IPv4 packet.
  /// And the kernel does not say which of the two protocols the tag that it took out was of.
  fileprivate var withoutChance: Bytes {
    var copy = self
    if copy.number(12, 2) == 0x88a8 { copy.put(be16(0x8100), at: 12) }
    let (type, offset) = AnswerKey.network(of: copy)
    if type == 0x0800 {
      copy.put([0, 0], at: offset + 4)
      copy.put([0, 0], at: offset + 10)
    }
    return copy
  }
}
