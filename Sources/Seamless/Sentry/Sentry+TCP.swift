import Frames

extension Sentry {
  /// How often the same FIN comes before it wakes the VM: a peer that has sent it this often waits
  /// for the guest to close, too.
  private static let finishLimit: UInt8 = 3
  /// RSTs held per flow, and of all unknown flows together per sleep. More only repeat the first.
  private static let heldResetLimit: UInt8 = 3
  private static let strangersResetLimit = 16

  mutating func verdict(
    for segment: TCPSegment, of packet: IPPacket, isProven: Bool, _ index: Int,
    _ header: EthernetHeader, _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict {
    let flow = FlowDescription(packet)
    let key = FlowKey(
      localIndex: index, localPort: segment.destinationPort, remote: packet.source,
      remotePort: segment.sourcePort)
    let cursor = table.cursor(key)
    if segment.flags.contains(.rst) { return resetVerdict(segment, cursor, flow) }
    if segment.flags.contains(.syn) {
      return segment.flags.contains(.ack)
        ? doubt(cursor == nil ? .unknownFlow : .unexpectedSegment, flow, now) : .wake(.syn, flow)
    }
    guard let cursor, cursor.flags.contains(.guestKnown) else {
      return doubt(.unknownFlow, flow, now)
    }
    guard segment.flags.contains(.ack) else { return .ignore(.malformed) }

    let position = SegmentPosition(
      sequence: segment.sequence, payloadLength: segment.payloadLength,
      expected: cursor.guestAcknowledgement)
    if position == .fresh { return .wake(.payload, flow) }
    if segment.flags.contains(.fin) { return finishVerdict(segment, cursor, flow, now) }
    // An older ACK may get a challenge (RFC 5961, 5.2), and so does any that is beyond.
    guard segment.flags.isDisjoint(with: .urg), !segment.isSigned, isProven,
      cursor.flags.isDisjoint(with: [.handshake, .congestionEchoed]), cursor.isAcknowledgedByPeer,
      position == .edge || position == .probe, segment.acknowledgement == cursor.guestSequence,
      // A byte that has come before is told of, if both sides understand that (RFC 2883).
      segment.payloadLength == 0 || cursor.flags.contains(.openingKnown),
      packet.trafficClass & 3 != 3
    else { return doubt(.unexpectedSegment, flow, now) }
    guard Self.fits(segment.timestamps, cursor) else { return doubt(.timestamps, flow, now) }
    guard let station = station(of: cursor, header) else {
      return doubt(.unexpectedSegment, flow, now)
    }
    // Its timestamp is not the guest's yet.
    if position == .probe, header.tags.isPriorityOnly { return doubt(.vlan, flow, now) }

    var seen = cursor
    if let timestamps = segment.timestamps, segment.covers(cursor.guestAcknowledgement) {
      seen.noteTimestamp(timestamps)
    }
    if position == .probe {
      answer(segment, packet, seen, link(answering: header, to: station), &replies)
      seen.lastSeen = monotonicSeconds(now)
    }
    if seen != cursor { table.update(seen) }
    return position == .probe ? .answer(1) : .ignore(.acknowledgement)
  }

  /// Restates the cursor, echo of the peer's timestamp included. The timestamp is the guest's last, never a newer one: the guest's own
  /// next segment would be older than it, and the peer would drop that (RFC 7323, 5.3).
  private mutating func answer(
    _ probe: TCPSegment, _ packet: IPPacket, _ cursor: Cursor, _ link: Link,
    _ replies: inout FrameBuffer
  ) {
    var route = route(answering: packet)
    route.trafficClass = cursor.trafficClass
    route.flowLabel = cursor.flowLabel
    if table.habits.contains(.dividesSegments) { route.identification = nextIdentification() }
    let isByte = probe.payloadLength == 1 && cursor.flags.contains(.sackPermitted)
    replies.appendTCP(
      TCPAcknowledgement(
        sourcePort: probe.destinationPort, destinationPort: probe.sourcePort,
        sequence: cursor.guestSequence, acknowledgement: cursor.guestAcknowledgement,
        window: cursor.guestWindow,
        timestamps: probe.timestamps.map { _ in
          TCPTimestamps(value: cursor.guestTimestamp, echo: cursor.peerTimestamp)
        },
        duplicate: isByte ? probe.sequence : nil),
      link: link, route: route)
  }

  /// The station that the guest sends the flow's segments to; nil if it is not known, or if the peer's came
  /// from another one until now.
  private func station(of cursor: Cursor, _ header: EthernetHeader) -> MACAddress? {
    guard table.mark(of: header.source) == cursor.station else { return nil }
    return cursor.flags.contains(.goesAnotherWay)
      ? table.way(to: cursor.key.remote) : header.source
  }

  /// Whether a segment has the timestamps that its flow must have: none in a flow without; otherwise
  /// not older than the peer's last, and no echo of what the guest has not sent.
  private static func fits(_ timestamps: TCPTimestamps?, _ cursor: Cursor) -> Bool {
    guard let timestamps else { return !cursor.flags.contains(.timestamps) }
    return cursor.flags.isSuperset(of: [.timestamps, .peerTimestampKnown])
      && !timestamps.value.isBefore(cursor.peerTimestamp)
      && !timestamps.echo.isAfter(cursor.guestTimestamp)
  }

  /// A FIN without payload that the guest does not know.
  private mutating func finishVerdict(
    _ segment: TCPSegment, _ cursor: Cursor, _ flow: FlowDescription, _ now: UInt64
  ) -> Verdict {
    guard segment.payloadLength == 0, segment.sequence == cursor.guestAcknowledgement else {
      return doubt(.unexpectedSegment, flow, now)
    }
    guard cursor.finishCopies + 1 < Self.finishLimit else { return .wake(.fin, flow) }
    var counted = cursor
    counted.finishCopies += 1
    table.update(counted)
    return .hold(.fin, flow)
  }

  /// A RST is never answered, so it can wait; one outside the window is no RST (RFC 9293, 3.5.2).
  private mutating func resetVerdict(
    _ segment: TCPSegment, _ cursor: Cursor?, _ flow: FlowDescription
  ) -> Verdict {
    guard let cursor, cursor.flags.contains(.guestKnown) else {
      guard strangersResets < Self.strangersResetLimit else { return .ignore(.heldAlready) }
      strangersResets += 1
      return .hold(.rst, flow)
    }
    // The window's scale is not known; the largest is 14 (RFC 7323, 2.3). What overlaps it is in it.
    let expected = cursor.guestAcknowledgement
    let distance = Int64(Int32(bitPattern: segment.sequence &- expected))
    let window = Int64(cursor.guestWindow) << 14
    guard !segment.end.isBefore(expected), distance < max(window, 1) else {
      return .ignore(.outOfWindow)
    }
    guard cursor.heldResets < Self.heldResetLimit else { return .ignore(.heldAlready) }
    var counted = cursor
    counted.heldResets += 1
    table.update(counted)
    return .hold(.rst, flow)
  }
}
