/// What a record of an IGMPv3 or MLDv2 report says about its sender's membership.
public enum MembershipChange: Hashable, Sendable {
  case joined
  case left
  case unchanged

  /// Record types of RFC 3376, 4.2.12, and RFC 3810, 5.2.12.
  init(recordType: UInt8, sources: UInt16) {
    switch recordType {
    case 2, 4: self = .joined
    case 1, 3: self = sources == 0 ? .left : .joined
    case 5: self = .joined
    default: self = .unchanged
    }
  }
}

/// An IGMP message (RFC 1112, RFC 2236, RFC 3376).
public enum IGMPMessage: Hashable, Sendable {
  /// `group` is `0.0.0.0` for a general query; `version` is 1 to 3. Only version 3 has sources.
  case query(version: Int, group: IPv4Address, sources: Int)
  case report(IPv4Address)
  case leave(IPv4Address)
  /// An IGMPv3 report; `start` and `end` are where its records lie in the frame.
  case reportV3(start: Int, end: Int, records: Int)
  case other

  /// - Throws: `.truncated`.
  init(parsing packet: UnsafeRawBufferPointer, at offset: Int, end: Int) throws(FrameError) {
    let type = try packet.byte(offset)
    let group = try packet.ipv4Address(offset + 4)
    switch type {
    case 0x11:
      // The length tells the versions apart (RFC 3376, 7.1).
      switch end - offset {
      case 8:
        let version = try packet.byte(offset + 1) == 0 ? 1 : 2
        self = .query(version: version, group: version == 1 ? .unspecified : group, sources: 0)
      case 12...:
        let sources = Int(try packet.bigEndian(offset + 10, as: UInt16.self))
        self = .query(version: 3, group: group, sources: sources)
      default:
        self = .other
      }
    case 0x12, 0x16:
      self = .report(group)
    case 0x17:
      self = .leave(group)
    case 0x22:
      let records = Int(try packet.bigEndian(offset + 6, as: UInt16.self))
      self = .reportV3(start: offset + 8, end: end, records: records)
    default:
      self = .other
    }
  }

  /// Calls `body` for each group that the message says something about. Records that the frame
  /// does not hold whole end the walk; their number is bounded by the frame's length.
  public func forEachChange(
    in frame: UnsafeRawBufferPointer, _ body: (IPv4Address, MembershipChange) -> Void
  ) {
    switch self {
    case .report(let group):
      body(group, .joined)
    case .leave(let group):
      body(group, .left)
    case .reportV3(let start, let end, let records):
      let bytes = frame.limited(to: end)
      var offset = start
      for _ in 0..<records {
        do throws(FrameError) {
          let sources = try bytes.bigEndian(offset + 2, as: UInt16.self)
          let group = try bytes.ipv4Address(offset + 4)
          body(group, MembershipChange(recordType: try bytes.byte(offset), sources: sources))
          offset += 8 + Int(sources) * 4 + Int(try bytes.byte(offset + 1)) * 4
        } catch {
          return
        }
      }
    case .query, .other:
      return
    }
  }
}
