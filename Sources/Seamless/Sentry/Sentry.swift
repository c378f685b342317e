public import Frames

/// Decides about every frame for a sleeping VM, and answers in its name where that is sound.
///
/// Answers only restate what the guest itself has said: where its address is, that it is there, how
/// far a connection has come. When in doubt it wakes the VM; doubts that anybody on the network can
/// raise for nothing are limited, to a burst of ten and then one wake in ten seconds.
public struct Sentry {
  /// What is known of the guest.
  public let table: CursorTable
  /// The longest IP packet that can be sent, in bytes.
  let mtu: Int
  private var doubts: TokenBucket
  /// RSTs of unknown flows that were held in this sleep.
  var strangersResets = 0
  /// What to do about frames that would wake the VM.
  public var rules = RuleTable() {
    didSet { forgetDemands() }
  }
  /// What rules put off, one entry per rule.
  var demands: [DeferredDemand?] = []
  /// How many ICMP errors there may be, which is Linux's own default: 6 at once, then one in a second.
  var unreachables: TokenBucket
  /// Identifies answers that routers may divide.
  private var identification = UInt16.random(in: 0 ... .max)

  static let second: UInt64 = 1_000_000_000

  /// - Parameters:
  ///   - mtu: of the interface that answers are sent through.
  ///   - now: monotonic nanoseconds, here and everywhere.
  public init(table: CursorTable, mtu: Int, at now: UInt64) {
    self.table = table
    self.mtu = mtu
    doubts = TokenBucket(burst: 10, interval: 10 * Self.second, now: now)
    unreachables = TokenBucket(burst: 6, interval: Self.second, now: now)
  }

  /// Starts counting held FINs and RSTs anew; to be called when the VM falls asleep.
  public mutating func beginSleep() {
    strangersResets = 0
    forgetDemands()
    table.forEachFlow { cursor in
      guard cursor.finishCopies != 0 || cursor.heldResets != 0 else { return }
      var fresh = cursor
      fresh.finishCopies = 0
      fresh.heldResets = 0
      table.update(fresh)
    }
  }

  /// Decides about one frame.
  /// - Parameters:
  ///   - frame: the whole frame, from the destination's address on, checksums complete.
  ///   - replies: where replies are appended; they go out as if the guest had sent them.
  public mutating func verdict(
    for frame: UnsafeRawBufferPointer, at now: UInt64, replies: inout FrameBuffer
  ) -> Verdict {
    guard let header = try? EthernetHeader(parsing: frame), !header.source.isGroup else {
      return .ignore(.malformed)
    }
    guard header.source != table.guest else { return .ignore(.loop) }
    let isGroup = header.destination.isGroup
    guard isGroup || header.destination == table.guest else { return .ignore(.otherMachine) }

    let before = replies.count
    let verdict: Verdict
    do throws(FrameError) {
      switch try NetworkPacket(parsing: frame, after: header) {
      case .arp(let arp):
        verdict = self.verdict(for: arp, header, now, &replies)
      case .ip(let ip) where isGroup:
        verdict = try groupVerdict(for: ip, header, frame, now, &replies)
      case .ip(let ip):
        let doubtsBefore = doubts
        let first = try self.verdict(for: ip, header, frame, now, &replies)
        verdict = reconsidered(first, of: ip, doubtsBefore, header, frame, now, &replies)
      case .other:
        verdict = isGroup ? .ignore(.group) : .wake(.unknownProtocol, nil)
      }
    } catch {
      return damagedVerdict(error, header, frame, now)
    }
    guard case .answer = verdict else { return verdict }
    // Whether a frame with nothing but a priority reaches the guest depends on its drivers.
    if header.tags.isPriorityOnly {
      replies.removeAll(from: before)
      return doubt(.vlan, nil, now)
    }
    // One query may be answered by several reports.
    return .answer(replies.count - before)
  }

  /// A frame with something wrong in it. Most are dropped by whoever receives them, but some get an ICMP
  /// message that tells what is wrong: with options, or with an address, which are looked at before the
  /// checksum of what is behind them.
  private mutating func damagedVerdict(
    _ error: FrameError, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer, _ now: UInt64
  ) -> Verdict {
    let verdict = Verdict.ignore(error.code == .checksum ? .badChecksum : .malformed)
    guard !header.destination.isGroup else { return verdict }
    if [.tcpOptions, .extensionHeaders, .options].contains(error.code) {
      return doubt(.options, nil, now)
    }
    guard let packet = NetworkPacket.headers(of: frame, after: header), packet.source.canBeOwned,
      !packet.destination.isMulticast
    else { return verdict }
    guard table.index(of: packet.destination) != nil else {
      return doubt(.unknownAddress, FlowDescription(packet), now)
    }
    return packet.hasOptions ? doubt(.options, FlowDescription(packet), now) : verdict
  }

  /// For an answer that routers may divide.
  mutating func nextIdentification() -> UInt16 {
    identification &+= 1
    return identification
  }

  /// A closed port and a rule may save the VM from being woken. Nothing else is changed by them.
  private mutating func reconsidered(
    _ verdict: Verdict, of packet: IPPacket, _ doubtsBefore: TokenBucket,
    _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    switch verdict {
    case .wake(.syn, _), .wake(.udp, _), .ignore(.closedPort):
      if let answer = closedPortVerdict(for: packet, header, frame, now, &replies) {
        return answer
      }
    default: break
    }
    switch verdict {
    case .wake, .ignore(.wakeLimit):
      guard let ruled = ruledVerdict(for: packet, header, frame, now, &replies) else {
        return verdict
      }
      // It has woken nobody, so it takes nothing from those who may.
      doubts = doubtsBefore
      return ruled
    case .answer, .hold, .ignore: return verdict
    }
  }

  private mutating func forgetDemands() {
    demands = [DeferredDemand?](repeating: nil, count: rules.count)
  }

  /// Wakes, unless doubts have woken the VM too often.
  mutating func doubt(_ reason: WakeReason, _ flow: FlowDescription?, _ now: UInt64) -> Verdict {
    doubts.take(at: now) ? .wake(reason, flow) : .ignore(.wakeLimit)
  }

  /// The way back to whoever sent a frame.
  func link(answering header: EthernetHeader, to destination: MACAddress? = nil) -> Link {
    Link(
      destination: destination ?? header.source, source: table.guest,
      tags: header.tags.withoutPriority)
  }

  /// An IP packet to the guest's MAC.
  private mutating func verdict(
    for packet: IPPacket, _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer,
    _ now: UInt64, _ replies: inout FrameBuffer
  ) throws(FrameError) -> Verdict {
    let flow = FlowDescription(packet)
    if case .icmpv6(let message) = packet.transport,
      let verdict = try linkVerdict(for: message, packet, header, frame, now, &replies)
    {
      return verdict
    }
    guard packet.source.canBeOwned, table.index(of: packet.source) == nil else {
      return .ignore(.malformed)
    }
    guard let index = table.index(of: packet.destination),
      let local = table.address(at: index)
    else { return .wake(.unknownAddress, flow) }
    guard local.network == header.tags.network else { return .wake(.vlan, flow) }
    if packet.isFragment { return .wake(.fragment, flow) }
    if packet.hasOptions { return .wake(.options, flow) }

    switch packet.transport {
    case .tcp(let segment):
      return verdict(
        for: segment, of: packet, isProven: local.evidence == .proven, index, header, now,
        &replies)
    case .udp(let datagram):
      return table.isClosed(datagram.destinationPort, localIndex: index)
        ? .ignore(.closedPort) : .wake(.udp, flow)
    case .icmp(let message):
      guard message.type == ICMPMessage.echoRequest else {
        return message.type == ICMPMessage.timestampRequest
          ? doubt(.icmp, flow, now) : .ignore(.icmp)
      }
      return echoVerdict(for: message, packet, local, header, frame, now, &replies)
    case .icmpv6(let message):
      guard message.type == ICMPMessage.echoRequestV6 else { return .ignore(.icmp) }
      return echoVerdict(for: message, packet, local, header, frame, now, &replies)
    case .igmp, .fragment, .other:
      return .wake(.unknownProtocol, flow)
    }
  }

  private mutating func echoVerdict(
    for message: ICMPMessage, _ packet: IPPacket, _ local: LearnedAddress,
    _ header: EthernetHeader, _ frame: UnsafeRawBufferPointer, _ now: UInt64,
    _ replies: inout FrameBuffer
  ) -> Verdict {
    guard local.evidence == .proven else {
      return doubt(.unprovenAddress, FlowDescription(packet), now)
    }
    guard packet.totalLength <= mtu else { return .wake(.oversized, FlowDescription(packet)) }
    // Whether the guest answers is known only if it has, and which way only if it has used it.
    guard local.answersEcho, message.code == 0,
      let station = echoStation(packet, local.address, header)
    else { return doubt(.icmp, FlowDescription(packet), now) }
    var route = route(answering: packet)
    route.trafficClass = packet.trafficClass
    if case .v4 = packet.source, !table.habits.contains(.keepsEchoesWhole) {
      route.identification = nextIdentification()
    }
    replies.appendEchoReply(
      to: message, in: frame, link: link(answering: header, to: station), route: route)
    return .answer(1)
  }

  /// The station that the guest sends its answer to: the one that it last answered this peer by, or for
  /// a stranger, the one that it sends strangers' packets to; nil if that is not known.
  private func echoStation(
    _ packet: IPPacket, _ local: IPAddress, _ header: EthernetHeader
  ) -> MACAddress? {
    if table.way(to: packet.source) != nil {
      return table.way(to: packet.source, heardFrom: header.source)
    }
    let isFar = !local.staysOnLink && !local.isNear(packet.source)
    return isFar && table.gateway(for: packet.source) == header.source ? header.source : nil
  }

  /// Addresses for the answer to a packet.
  func route(answering packet: IPPacket) -> IPRoute {
    IPRoute(
      source: packet.destination, destination: packet.source,
      hopLimit: table.hopLimit(for: packet.destination))
  }
}
