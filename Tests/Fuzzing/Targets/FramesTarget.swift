import Frames

extension FuzzTarget {
  /// Every parser of `Frames`. Input: choices (1: checksums are repaired first; 2: the frame was cut),
  /// then the frame.
  static let frames = FuzzTarget("frames", maximumLength: 2048) { input in
    var reader = InputReader(input)
    let choices = reader.byte()
    let missing = choices & 2 == 0 ? 0 : Int(reader.byte())
    var frame = reader.remainder()
    if choices & 1 != 0, let wire = WireFrame(frame) { frame = wire.repaired }
    try frame.withUnsafeBytes { try examine($0, wireLength: $0.count + missing) }
    // Memory of just this size, so that the address sanitizer sees every byte read too many.
    for count in [frame.count / 2, max(frame.count - 1, 0)] {
      let part = [UInt8](frame.prefix(count))
      try part.withUnsafeBytes { try examine($0, wireLength: frame.count) }
    }
  }

  private static func examine(_ frame: UnsafeRawBufferPointer, wireLength: Int) throws {
    guard let header = try? EthernetHeader(parsing: frame) else { return }
    try demand(header.payloadOffset <= frame.count, "a header that is longer than its frame")
    let trusted = try? NetworkPacket(
      parsing: frame, after: header, wireLength: wireLength, checksums: .trust)
    let verified = try? NetworkPacket(parsing: frame, after: header)
    if wireLength == frame.count, let verified {
      try demand(verified == trusted, "what is right is read as something else when it is trusted")
    }
    for case .ip(let packet)? in [trusted, verified] {
      try examine(packet, frame, wireLength: wireLength)
    }
    if case .ip(let packet)? = verified { try compare(packet, frame) }
  }

  /// What hangs on a packet and is read on demand.
  private static func examine(
    _ packet: IPPacket, _ frame: UnsafeRawBufferPointer, wireLength: Int
  ) throws {
    try demand(packet.totalLength <= wireLength, "a packet that is longer than its frame")
    var changes = 0
    switch packet.transport {
    case .tcp(let segment):
      try demand((0...packet.totalLength).contains(segment.payloadLength), "an impossible payload")
    case .igmp(let message):
      message.forEachChange(in: frame) { _, _ in changes += 1 }
    case .icmp(let message):
      _ = message.unreachableUDPPort(in: frame, isIPv6: false)
    case .icmpv6(let message):
      _ = message.unreachableUDPPort(in: frame, isIPv6: true)
      _ = try? NeighbourDiscovery(parsing: message, of: packet, in: frame)
      if let listener = try? MLDMessage(parsing: message, of: packet, in: frame) {
        listener.forEachChange(in: frame) { _, _ in changes += 1 }
      }
    case .udp, .fragment, .other:
      break
    }
    try demand(changes <= frame.count / 8 + 1, "more records than there are bytes for")
  }

  /// A packet that is believed must have been read as another reader reads it.
  private static func compare(_ packet: IPPacket, _ frame: UnsafeRawBufferPointer) throws {
    guard let wire = WireFrame([UInt8](frame)), let other = wire.packet else {
      throw FuzzFinding("a packet where there is none")
    }
    try demand(packet.isFragment == other.isFragment, "a fragment is taken for a packet, or not")
    guard !packet.isFragment else { return }
    try demand(packet.protocolNumber == other.protocolNumber, "another protocol")
    if case .tcp(let segment) = packet.transport {
      guard let segmentThere = WireSegment(other, in: wire.bytes) else {
        throw FuzzFinding("a segment where there is none")
      }
      try demand(other.checksum(in: wire.bytes) == 0, "a wrong checksum is called right")
      try demand(
        segment.end == segmentThere.end && segment.acknowledgement == segmentThere.acknowledgement
          && segment.flags.rawValue == segmentThere.flags,
        "a segment is read as another")
    }
  }
}
