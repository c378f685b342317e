import Frames

/// Demand that a rule puts off: since when it goes on, and when it was last seen, in monotonic
/// nanoseconds.
struct DeferredDemand: Hashable {
  var since: UInt64
  var last: UInt64
}

extension Sentry {
  /// What the rules say about a packet that wakes the VM; nil when they leave it at that.
  ///
  /// A refusal goes to who opens a TCP connection that the guest does not know and to who sends a
  /// datagram. A segment of an established connection is never refused: a RST would kill at the peer what
  /// the guest believes alive. It stays unanswered, and is sent again until the VM is awake.
  mutating func ruledVerdict(
    for packet: IPPacket, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) -> Verdict? {
    guard !rules.isEmpty,
      let rule = rules.match(RuledPacket(packet, isFromGuest: false))
    else { return nil }
    switch rule.verdict {
    case .wake: return nil
    case .ignore: return .ignore(.rule)
    case .refuse:
      guard let index = table.index(of: packet.destination),
        let local = table.address(at: index), local.evidence == .proven,
        local.network == header.tags.network, !packet.hasOptions
      else { return .ignore(.rule) }
      return refusal(of: packet, index, header, frame, now, &replies) ?? .ignore(.rule)
    case .defer(let limit):
      return hasInsisted(place: rule.place, limit: limit, at: now)
        ? nil : .hold(.deferred, FlowDescription(packet))
    }
  }

  /// Notes demand and tells whether it has gone on for the rule's time: without a pause that is as long
  /// as that time.
  private mutating func hasInsisted(place: Int, limit: UInt32?, at now: UInt64) -> Bool {
    guard let limit, demands.indices.contains(place) else { return false }
    let time = UInt64(limit) * Self.second
    guard var demand = demands[place], now < demand.last + time else {
      demands[place] = DeferredDemand(since: now, last: now)
      return false
    }
    demand.last = now
    demands[place] = demand
    return now >= demand.since + time
  }
}
