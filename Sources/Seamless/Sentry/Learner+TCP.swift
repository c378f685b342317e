import Frames

extension Learner {
  /// Moves a cursor forward, or makes one.
  /// - Returns: what the guest's peer expects next, as it was before.
  mutating func learnFromGuest(
    _ segment: TCPSegment, _ packet: IPPacket, to station: MACAddress, _ index: Int, _ now: UInt32
  ) -> UInt32? {
    let key = FlowKey(
      localIndex: index, localPort: segment.sourcePort, remote: packet.destination,
      remotePort: segment.destinationPort)
    guard !packet.destination.isMulticast else { return nil }
    if segment.flags.contains(.rst) {
      learnRefusal(segment, key, to: station, now)
      table.remove(key)
      return nil
    }
    if segment.flags.isSuperset(of: [.syn, .ack]) {
      table.removeRefusals(at: segment.sourcePort, .tcp, localIndex: index)
    }
    let known = segment.flags.contains(.syn) ? nil : table.cursor(key)
    var cursor = known ?? Cursor(key: key)
    if known == nil {
      cursor.guestSequence = segment.end
      // Until the peer is heard: what came before this segment was probably acknowledged, and
      // `newFlow` stands against sleep for a while.
      cursor.peerAcknowledgement = segment.sequence
      if segment.flags.contains(.syn) {
        cursor.flags.formUnion([.handshake, .openingKnown])
        if segment.permitsSACK { cursor.flags.insert(.sackPermitted) }
      }
    } else {
      cursor.flags.remove(.handshake)
      if !segment.sequence.isBefore(cursor.guestSequence) { cursor.flags.remove(.sequenceGuessed) }
      if segment.end.isAfter(cursor.guestSequence) { cursor.guestSequence = segment.end }
    }
    if segment.flags.contains(.ack),
      !cursor.flags.contains(.guestKnown)
        || !segment.acknowledgement.isBefore(cursor.guestAcknowledgement)
    {
      cursor.flags.insert(.guestKnown)
      cursor.guestAcknowledgement = segment.acknowledgement
      cursor.guestWindow = segment.window
    }
    if let timestamps = segment.timestamps {
      if !cursor.flags.contains(.timestamps) || timestamps.value.isAfter(cursor.guestTimestamp) {
        cursor.guestTimestamp = timestamps.value
      }
      cursor.flags.insert(.timestamps)
      if segment.flags.contains(.ack) {
        cursor.flags.insert(.peerTimestampKnown)
        cursor.peerTimestamp = timestamps.echo
      }
    } else {
      cursor.flags.remove(.timestamps)
    }
    if segment.flags.contains(.fin) { cursor.flags.insert(.guestFinished) }
    let mark = table.mark(of: station)
    if known == nil { cursor.station = mark }
    if mark == cursor.station {
      cursor.flags.remove(.goesAnotherWay)
    } else {
      cursor.flags.insert(.goesAnotherWay)
      table.setWay(to: key.remote, station)
    }
    // Data may say "capable of congestion notification" (RFC 3168); acknowledgements do not.
    cursor.trafficClass = packet.trafficClass & 0xfc
    cursor.flowLabel = packet.flowLabel
    if segment.flags.contains(.ece), !segment.flags.contains(.syn) {
      cursor.flags.insert(.congestionEchoed)
    } else {
      cursor.flags.remove(.congestionEchoed)
    }
    cursor.lastSeen = now
    if cursor.isOver || segment.isSigned {
      // Nobody can speak for a side that signs its segments.
      table.remove(key)
    } else {
      table.update(cursor)
    }
    return known?.guestSequence
  }

  /// Completes a cursor with what the peer says, as far as it fits to what the guest said.
  /// - Returns: what the guest expects next.
  mutating func learnToGuest(
    _ segment: TCPSegment, _ packet: IPPacket, from station: MACAddress, _ now: UInt32
  ) -> UInt32? {
    guard let index = table.index(of: packet.destination) else { return nil }
    let key = FlowKey(
      localIndex: index, localPort: segment.destinationPort, remote: packet.source,
      remotePort: segment.sourcePort)
    learnOpening(segment, key)
    guard var cursor = table.cursor(key) else { return nil }
    let expected = cursor.flags.contains(.guestKnown) ? cursor.guestAcknowledgement : nil
    // Without any of these the guest drops it (RFC 9293, 3.10.7.4).
    guard !segment.flags.isDisjoint(with: [.ack, .syn, .rst]) else { return expected }
    if expected != nil, !cursor.flags.contains(.peerKnown),
      segment.flags.isDisjoint(with: [.syn, .rst]),
      segment.acknowledgement == cursor.guestSequence &+ 1
    {
      // The flow was noticed by a keepalive of the guest's, which lies one below its SND.NXT. Or the peer
      // acknowledges what was never sent.
      cursor.guestSequence &+= 1
      cursor.flags.insert(.sequenceGuessed)
    } else if cursor.flags.contains(.sequenceGuessed), segment.flags.contains(.ack),
      segment.acknowledgement == cursor.guestSequence &- 1
    {
      // Had the guest sent that byte, the peer would not ask for it again.
      cursor.guestSequence &-= 1
      cursor.peerAcknowledgement = cursor.guestSequence
      cursor.flags.remove(.sequenceGuessed)
    }
    let acknowledges =
      segment.flags.contains(.ack) && !segment.acknowledgement.isAfter(cursor.guestSequence)
    if segment.flags.contains(.rst) {
      let ends = expected.map { $0 == segment.sequence }
      if ends ?? (acknowledges && segment.acknowledgement == cursor.guestSequence) {
        table.remove(key)
      }
      return expected
    }
    if let expected {
      // Without SYN seen the window's scale is not known; the largest is 14 (RFC 7323, 2.3).
      let distance = Int64(Int32(bitPattern: segment.sequence &- expected))
      let window = min(Int64(cursor.guestWindow) << 14, 1 << 30)
      guard !segment.flags.contains(.syn), (-(1 << 30)...max(window, 1)).contains(distance) else {
        return expected
      }
    } else {
      guard segment.flags.isSuperset(of: [.syn, .ack]), acknowledges else { return nil }
    }
    if acknowledges,
      !cursor.flags.contains(.peerKnown)
        || !segment.acknowledgement.isBefore(cursor.peerAcknowledgement)
    {
      cursor.flags.insert(.peerKnown)
      cursor.peerAcknowledgement = segment.acknowledgement
      if segment.window == 0 {
        cursor.flags.insert(.peerWindowClosed)
      } else {
        cursor.flags.remove(.peerWindowClosed)
      }
      if expected != nil, cursor.isAcknowledgedByPeer { cursor.flags.remove(.handshake) }
    }
    if !cursor.flags.contains(.peerEndKnown) || segment.end.isAfter(cursor.peerEnd) {
      cursor.flags.insert(.peerEndKnown)
      cursor.peerEnd = segment.end
    }
    if segment.flags.contains(.syn), !segment.permitsSACK {
      cursor.flags.remove(.sackPermitted)
    }
    if let timestamps = segment.timestamps, expected.map({ segment.covers($0) }) ?? true {
      cursor.noteTimestamp(timestamps)
    }
    if segment.flags.contains(.fin) { cursor.flags.insert(.peerFinished) }
    let mark = table.mark(of: station)
    if mark != cursor.station {
      // Until the guest's next segment tells, it goes where it went, if that is the way that is known.
      if !cursor.flags.contains(.goesAnotherWay), let way = table.way(to: key.remote),
        table.mark(of: way) != cursor.station
      {
        table.forgetWay(to: key.remote)
      }
      cursor.flags.insert(.goesAnotherWay)
      cursor.station = mark
    }
    cursor.lastSeen = now
    if cursor.isOver {
      table.remove(key)
    } else {
      table.update(cursor)
    }
    return expected
  }
}

extension TCPSegment {
  /// Whether the guest remembers the timestamp of this segment, given what it expects next: it begins
  /// there or before, and does not end before (RFC 7323, 4.3). So a keepalive without payload does not
  /// count.
  func covers(_ expected: UInt32) -> Bool {
    !sequence.isAfter(expected) && !end.isBefore(expected)
  }
}

extension Cursor {
  /// Takes the timestamp of a segment of the peer's that the guest takes.
  mutating func noteTimestamp(_ timestamps: TCPTimestamps) {
    guard !flags.contains(.peerTimestampKnown) || timestamps.value.isAfter(peerTimestamp) else {
      return
    }
    flags.insert(.peerTimestampKnown)
    peerTimestamp = timestamps.value
  }

  /// After this many seconds of silence the guest has given up what it was retransmitting: it waits
  /// at most 120 seconds between two attempts (Linux's TCP_RTO_MAX).
  private static let retransmissionLimit: UInt32 = 150
  /// Seconds in which a guest that takes what it was sent acknowledges it.
  private static let deliveryLimit: UInt32 = 10
  /// Seconds in which unacknowledged data of a newly noticed flow is retransmitted.
  private static let noticeLimit: UInt32 = 3

  /// What in this flow forbids sleep.
  ///
  /// - Parameter isProven: whether its address is certainly the guest's. Otherwise each of its keepalives would
  ///   wake the VM, and soon go unanswered.
  func obstacle(_ flow: FlowDescription, isProven: Bool, at now: UInt32) -> Obstacle? {
    let silence = now &- lastSeen
    if flags.contains(.guestKnown), guestWindow == 0 { return .guestWindowClosed(flow) }
    guard silence < Self.retransmissionLimit else { return nil }
    if flags.contains(.handshake) { return .handshake(flow) }
    if !isAcknowledgedByPeer {
      return flags.contains(.guestFinished)
        ? .finishInFlight(flow)
        : .unacknowledged(flow, bytes: guestSequence &- peerAcknowledgement)
    }
    if !flags.contains(.peerKnown) {
      if silence < Self.noticeLimit { return .newFlow(flow) }
      return isProven ? nil : .unprovenAddress(flow)
    }
    if flags.contains(.peerWindowClosed) { return .peerWindowClosed(flow) }
    if !isAcknowledgedByGuest, silence < Self.deliveryLimit { return .undelivered(flow) }
    return isProven ? nil : .unprovenAddress(flow)
  }
}
