/// A multicast listener discovery message (RFC 2710, RFC 3810), read from an ICMPv6 message.
public enum MLDMessage: Hashable, Sendable {
  /// `group` is `::` for a general query; `version` is 1 or 2, or nil for a length that no version has: who
  /// speaks version 1 then reads it as that. Only version 2 has sources.
  case query(version: Int?, group: IPv6Address, sources: Int)
  case report(IPv6Address)
  case done(IPv6Address)
  /// An MLDv2 report; `start` and `end` are where its records lie in the frame.
  case reportV2(start: Int, end: Int, records: Int)

  /// - Returns: `nil` for a message of another protocol.
  /// - Throws: for a message that every receiver discards silently.
  public init?(
    parsing message: ICMPMessage, of packet: IPPacket, in frame: UnsafeRawBufferPointer
  ) throws(FrameError) {
    guard (130...132).contains(message.type) || message.type == 143 else { return nil }
    guard packet.hopLimit == 1 else {
      throw FrameError(.inconsistent, "a listener discovery message that came through a router")
    }
    let bytes = frame.limited(to: message.range.upperBound)
    let start = message.range.lowerBound
    switch message.type {
    case 130:
      let group = try bytes.ipv6Address(start + 8)
      guard packet.hasRouterAlert, group == .unspecified || group.isMulticast else {
        throw FrameError(.inconsistent, "a listener query without router alert, or of no group")
      }
      // The length tells the versions apart (RFC 3810, 8.1).
      switch message.range.count {
      case 24:
        self = .query(version: 1, group: group, sources: 0)
      case 28...:
        let sources = Int(try bytes.bigEndian(start + 26, as: UInt16.self))
        self = .query(version: 2, group: group, sources: sources)
      default:
        self = .query(version: nil, group: group, sources: 0)
      }
    case 131:
      self = .report(try bytes.ipv6Address(start + 8))
    case 132:
      self = .done(try bytes.ipv6Address(start + 8))
    default:
      let records = Int(try bytes.bigEndian(start + 6, as: UInt16.self))
      self = .reportV2(start: start + 8, end: message.range.upperBound, records: records)
    }
  }

  /// Calls `body` for each group that the message says something about. Records that the frame
  /// does not hold whole end the walk; their number is bounded by the frame's length.
  public func forEachChange(
    in frame: UnsafeRawBufferPointer, _ body: (IPv6Address, MembershipChange) -> Void
  ) {
    switch self {
    case .report(let group):
      body(group, .joined)
    case .done(let group):
      body(group, .left)
    case .reportV2(let start, let end, let records):
      let bytes = frame.limited(to: end)
      var offset = start
      for _ in 0..<records {
        do throws(FrameError) {
          let sources = try bytes.bigEndian(offset + 2, as: UInt16.self)
          let group = try bytes.ipv6Address(offset + 4)
          body(group, MembershipChange(recordType: try bytes.byte(offset), sources: sources))
          offset += 20 + Int(sources) * 16 + Int(try bytes.byte(offset + 1)) * 4
        } catch {
          return
        }
      }
    case .query:
      return
    }
  }
}
