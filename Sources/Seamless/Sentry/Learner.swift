import Frames
public import LinuxNetwork

/// Watches the traffic of an awake guest and keeps its table true: addresses, groups, cursors.
///
/// Everything is learned from what the guest sends; what is sent to it only completes that, so
/// that strangers can fill nothing. Belongs to one thread, like its table. It must not be shown
/// frames that the sentry answers with while the guest sleeps.
public struct Learner {
  /// What is learned.
  public let table: CursorTable
  /// How the guest is used.
  public private(set) var summary: TrafficSummary

  /// Watching counts as gapless from here on, in monotonic nanoseconds.
  private var watchedSince: UInt64
  private var questions = UnansweredQuestions()
  var openings = OpenedConnections()
  /// What does not wake the VM asleep is no use of it awake.
  public var rules = RuleTable()
  private var echoRequests = UnansweredQuestions()
  /// The last solicitation that the guest has not answered.
  private var solicitation: Solicitation?

  /// Bytes from a frame's beginning that suffice to learn from it; longer captures are not needed.
  public static let sufficientCapture = 512

  /// - Parameter now: monotonic nanoseconds, here and everywhere.
  public init(table: CursorTable, at now: UInt64) {
    self.table = table
    summary = TrafficSummary(at: now)
    watchedSince = now
  }

  /// Forgets all flows, because frames may have been missed. Addresses and groups stay.
  public mutating func invalidate(at now: UInt64) {
    table.removeAllFlows()
    summary.invalidations &+= 1
    watchedSince = now
  }

  /// Learns from one frame.
  /// - Parameters:
  ///   - frame: the frame or its beginning, from the destination's address on. Checksums are not
  ///     looked at: those of a local sender are not complete yet.
  ///   - wireLength: the frame's length, if `frame` was cut.
  ///   - strippedTag: the VLAN tag that the kernel has taken out of the frame (`PACKET_AUXDATA`).
  /// - Returns: what the frame was counted as.
  @discardableResult
  public mutating func observe(
    _ frame: UnsafeRawBufferPointer, wireLength: Int? = nil, strippedTag: UInt16? = nil,
    direction: PacketSocket.Direction, at now: UInt64
  ) -> Activity {
    let activity = learn(frame, wireLength, strippedTag, direction, now)
    summary.count(activity, direction: direction, at: now)
    return activity
  }

  private mutating func learn(
    _ frame: UnsafeRawBufferPointer, _ wireLength: Int?, _ strippedTag: UInt16?,
    _ direction: PacketSocket.Direction, _ now: UInt64
  ) -> Activity {
    guard let header = try? EthernetHeader(parsing: frame) else { return .malformed }
    let tags = strippedTag.map { control in
      VLANTags(outer: VLANTag(control: control), inner: header.tags.outer)
    }
    let network = (tags ?? header.tags).network
    let packet: NetworkPacket
    do throws(FrameError) {
      packet = try NetworkPacket(
        parsing: frame, after: header, wireLength: wireLength, checksums: .trust)
    } catch {
      // It may have been a segment of a known flow.
      if direction == .fromGuest, header.etherType != .arp { invalidate(at: now) }
      return .malformed
    }
    switch direction {
    case .fromGuest:
      return learnFromGuest(frame, header, packet, network, now)
    case .toGuest:
      guard header.destination.isGroup || header.destination == table.guest else { return .foreign }
      return learnToGuest(frame, header, packet, now)
    }
  }

  // MARK: - From the guest

  private mutating func learnFromGuest(
    _ frame: UnsafeRawBufferPointer, _ header: EthernetHeader, _ packet: NetworkPacket,
    _ network: UInt32, _ now: UInt64
  ) -> Activity {
    let seconds = monotonicSeconds(now)
    let isGroup = header.destination.isGroup
    guard header.source == table.guest else {
      table.foreignSource = (header.source, max(seconds, 1))
      return isGroup ? .group : .otherUnicast
    }
    table.lastHeard = seconds
    var expected: UInt32?
    switch packet {
    case .arp(let arp):
      learn(arp, network, seconds)
      if arp.operation == .reply, !isGroup, table.isNearGuest(.v4(arp.target)) {
        table.setWay(to: .v4(arp.target), arp.targetMAC)
      }
    case .ip(let ip):
      if ip.isFragment, ip.protocolNumber == IPProtocol.tcp { invalidate(at: now) }
      let index = table.learn(
        ip.source, ip.source.staysOnLink ? .proven : .seen, network: network, at: seconds)
      if !isGroup, !ip.destination.isMulticast, !ip.source.staysOnLink,
        !ip.source.isNear(ip.destination), !ip.isNeighbourDiscovery
      {
        table.setGateway(header.destination, for: ip.source)
      }
      switch ip.transport {
      case .tcp(let segment):
        learnHopLimit(of: ip)
        table.setHabit(.dividesSegments, !ip.mayNotBeFragmented)
        if let index {
          expected = learnFromGuest(segment, ip, to: header.destination, index, seconds)
        }
      case .udp(let datagram):
        if let index {
          table.setOpen(datagram.sourcePort, localIndex: index)
          table.removeRefusals(at: datagram.sourcePort, .udp, localIndex: index)
        }
      case .icmp(let message):
        learnHopLimit(of: ip)
        if message.type == ICMPMessage.echoReply {
          learnEchoReply(index, ip, header)
          table.setHabit(.keepsEchoesWhole, ip.mayNotBeFragmented)
        }
        learnClosedPort(message, ip, to: header.destination, index, frame, seconds)
      case .icmpv6(let message):
        if message.type == ICMPMessage.echoReplyV6 {
          learnHopLimit(of: ip)
          learnEchoReply(index, ip, header)
        }
        if message.type == ICMPMessage.neighbourAdvertisement, !isGroup,
          table.isNearGuest(ip.destination)
        {
          table.setWay(to: ip.destination, header.destination)
        }
        learnClosedPort(message, ip, to: header.destination, index, frame, seconds)
        learn(message, ip, frame, network, seconds)
      case .igmp(let message):
        message.forEachChange(in: frame) { group, change in
          switch change {
          case .joined: table.join(group)
          case .left: table.leave(group)
          case .unchanged: break
          }
        }
      case .fragment, .other:
        break
      }
    case .other:
      break
    }
    return ruled(
      Activity(packet, isGroup: isGroup, remotePort: { $0.destination }, expected: expected),
      packet, isFromGuest: true)
  }

  private mutating func learnEchoReply(
    _ index: Int?, _ packet: IPPacket, _ header: EthernetHeader
  ) {
    guard let index else { return }
    if !header.destination.isGroup { table.setWay(to: packet.destination, header.destination) }
    table.setAnswersEcho(true, at: index)
    echoRequests.settle(index)
  }

  private func learnHopLimit(of packet: IPPacket) {
    guard packet.hopLimit > 1, !packet.destination.isMulticast else { return }
    switch packet.source {
    case .v4: table.timeToLive = packet.hopLimit
    case .v6: table.hopLimit = packet.hopLimit
    }
  }

  private mutating func learn(_ arp: ARPPacket, _ network: UInt32, _ now: UInt32) {
    guard arp.senderMAC == table.guest else { return }
    if arp.sender == .unspecified {
      table.learn(.v4(arp.target), .tentative, network: network, at: now)
    } else if let index = table.learn(.v4(arp.sender), .proven, network: network, at: now) {
      questions.settle(index)
    }
  }

  private mutating func learn(
    _ message: ICMPMessage, _ packet: IPPacket, _ frame: UnsafeRawBufferPointer,
    _ network: UInt32, _ now: UInt32
  ) {
    do throws(FrameError) {
      if let neighbour = try NeighbourDiscovery(parsing: message, of: packet, in: frame) {
        switch (neighbour, packet.source) {
        case (.solicitation(let target, _), .v6(.unspecified)):
          table.learn(.v6(target), .tentative, network: network, at: now)
        case (.solicitation, _):
          prove(packet.source, network, isRouter: nil, now)
        case (.advertisement(let target, let flags, let linkLayer), _):
          if linkLayer == nil || linkLayer == table.guest {
            prove(.v6(target), network, isRouter: flags.contains(.router), now)
          }
          if let asked = solicitation, asked.index == table.index(of: .v6(target)),
            asked.asker == packet.destination
          {
            if asked.isAlone {
              table.setHabit(.tellsMAC, linkLayer != nil)
              table.setHabit(.overrides, flags.contains(.override))
            }
            solicitation = nil
          }
        case (.routerSolicitation, _), (.routerAdvertisement, _), (.redirect, _):
          break
        }
      } else if let listener = try MLDMessage(parsing: message, of: packet, in: frame) {
        listener.forEachChange(in: frame) { group, change in
          switch change {
          case .joined: table.join(group)
          case .left: table.leave(group)
          case .unchanged: break
          }
        }
      }
    } catch {
      // Its receivers discard it too, so it says nothing about the guest.
      return
    }
  }

  private mutating func prove(
    _ address: IPAddress, _ network: UInt32, isRouter: Bool?, _ now: UInt32
  ) {
    if let index = table.learn(address, .proven, network: network, isRouter: isRouter, at: now) {
      questions.settle(index)
    }
  }

  private func learnClosedPort(
    _ message: ICMPMessage, _ packet: IPPacket, to station: MACAddress, _ index: Int?,
    _ frame: UnsafeRawBufferPointer, _ now: UInt32
  ) {
    guard let index,
      let port = message.unreachableUDPPort(in: frame, isIPv6: packet.source.family == 6)
    else { return }
    table.setClosed(port, localIndex: index, at: now)
    table.addRefusal(
      of: packet.destination, to: station, at: port, .udp, localIndex: index, now: now)
  }

  // MARK: - To the guest

  private mutating func learnToGuest(
    _ frame: UnsafeRawBufferPointer, _ header: EthernetHeader, _ packet: NetworkPacket,
    _ now: UInt64
  ) -> Activity {
    let seconds = monotonicSeconds(now)
    var expected: UInt32?
    switch packet {
    case .arp(let arp):
      if arp.senderMAC != table.guest, let index = table.index(of: .v4(arp.sender)) {
        table.doubtAddress(at: index)
      } else if arp.operation == .request {
        ask(.v4(arp.target), seconds)
      }
    case .ip(let ip):
      switch ip.transport {
      case .tcp(let segment):
        expected = learnToGuest(segment, ip, from: header.source, seconds)
      case .icmp(let message):
        if message.type == ICMPMessage.echoRequest { noteEchoRequest(ip, header, seconds) }
      case .igmp(.query(let version, _, _)):
        _ = table.igmpVersion(afterQueryOf: version, at: seconds)
      case .icmpv6(let message):
        if message.type == ICMPMessage.echoRequestV6 { noteEchoRequest(ip, header, seconds) }
        if case .query(let version, _, _) = try? MLDMessage(
          parsing: message, of: ip, in: frame)
        {
          _ = table.mldVersion(afterQueryOf: version, at: seconds)
        }
        switch try? NeighbourDiscovery(parsing: message, of: ip, in: frame) {
        case .solicitation(let target, _):
          noteSolicitation(of: target, ip)
          ask(.v6(target), seconds)
        case .advertisement(let target, _, let linkLayer):
          if let linkLayer, linkLayer != table.guest, let index = table.index(of: .v6(target)) {
            table.doubtAddress(at: index)
          }
        default:
          break
        }
      default:
        break
      }
    case .other:
      break
    }
    return ruled(
      Activity(
        packet, isGroup: header.destination.isGroup, remotePort: { $0.source }, expected: expected),
      packet, isFromGuest: false)
  }

  private func ruled(
    _ activity: Activity, _ packet: NetworkPacket, isFromGuest: Bool
  ) -> Activity {
    guard activity.isUse, !rules.isEmpty, case .ip(let ip) = packet,
      !rules.countsAsUse(ip, isFromGuest: isFromGuest)
    else { return activity }
    return .ruledOut
  }

  private mutating func noteSolicitation(of target: IPv6Address, _ packet: IPPacket) {
    guard let index = table.index(of: .v6(target)) else { return }
    let question = Solicitation(
      index: index, asker: packet.source, isAlone: !packet.destination.isMulticast)
    var other = question
    other.isAlone.toggle()
    // Which of the two an answer is for cannot be told.
    solicitation = solicitation == other ? nil : question
  }

  /// Counts echo requests that the guest leaves unanswered: it does not answer any.
  private mutating func noteEchoRequest(
    _ packet: IPPacket, _ header: EthernetHeader, _ now: UInt32
  ) {
    guard !header.destination.isGroup, let index = table.index(of: packet.destination) else {
      return
    }
    table.noteStation(of: packet.source, header.source)
    guard echoRequests.ask(index, at: now) else { return }
    table.setAnswersEcho(false, at: index)
    echoRequests.settle(index)
  }

  /// Counts questions about an address that the guest leaves unanswered: it has given it up.
  private mutating func ask(_ address: IPAddress, _ now: UInt32) {
    guard let index = table.index(of: address), questions.ask(index, at: now) else { return }
    table.forgetAddress(at: index)
    questions.settle(index)
  }

  // MARK: - Quiescence

  /// How long watching must have gone on without a gap: long enough for a first retransmission of
  /// what the guest may have sent in the gap (RFC 6298, 2).
  static let settlingTime: UInt64 = 1_000_000_000
  /// How long the guest gets to answer what it was sent: its kernel acknowledges a request before the program
  /// that it is for has seen it, and a guest put to sleep in between would not answer until something wakes it.
  static let answeringTime: UInt64 = 2_000_000_000
  /// How long after any use more of it is expected.
  static let lingeringTime: UInt64 = 500_000_000
  /// The most obstacles that are reported at once.
  static let obstacleLimit = 32

  /// Everything known that forbids sleep; empty if nothing does.
  public func quiescence(at now: UInt64) -> [Obstacle] {
    let seconds = monotonicSeconds(now)
    var obstacles: [Obstacle] = []
    if now < watchedSince + Self.settlingTime { obstacles.append(.settling) }
    if summary.framesOfUse > 0, now < summary.lastUse + Self.lingeringTime {
      obstacles.append(.usedJustNow)
    }
    if let question = summary.lastQuestion, now < question + Self.answeringTime {
      obstacles.append(.unanswered)
    }
    if !table.hasProvenAddress { obstacles.append(.noAddress) }
    let overflow = table.addressOverflow
    if overflow != 0, seconds &- overflow < 600 { obstacles.append(.tooManyAddresses) }
    if let foreign = table.foreignSource, seconds &- foreign.seen < 600 {
      obstacles.append(.foreignSource(foreign.mac))
    }
    table.forEachFlow { cursor in
      guard obstacles.count < Self.obstacleLimit,
        let local = table.address(at: cursor.key.localIndex)
      else { return }
      let flow = FlowDescription(cursor.key, local: local.address)
      let isProven = local.evidence == .proven
      if let obstacle = cursor.obstacle(flow, isProven: isProven, at: seconds) {
        obstacles.append(obstacle)
      }
    }
    return obstacles
  }
}

/// A neighbour's question about an address of the guest's, by its place.
private struct Solicitation: Hashable {
  var index: Int
  var asker: IPAddress
  /// Whether it was for the guest alone, and not for a group.
  var isAlone: Bool
}

/// Questions about the guest's addresses that it has not answered since, one entry per place.
private struct UnansweredQuestions {
  private var counts = [UInt8](repeating: 0, count: CursorTable.addressCount)
  private var firsts = [UInt32](repeating: 0, count: CursorTable.addressCount)

  /// Counts a question at `now`, in seconds.
  /// - Returns: whether three in three seconds or more went unanswered.
  mutating func ask(_ index: Int, at now: UInt32) -> Bool {
    if counts[index] == 0 { firsts[index] = now }
    counts[index] = min(counts[index] + 1, 3)
    return counts[index] == 3 && now &- firsts[index] >= 3
  }

  mutating func settle(_ index: Int) {
    counts[index] = 0
  }
}

/// Whole seconds of monotonic nanoseconds, as the table counts.
func monotonicSeconds(_ nanoseconds: UInt64) -> UInt32 {
  UInt32(truncatingIfNeeded: nanoseconds / 1_000_000_000)
}
