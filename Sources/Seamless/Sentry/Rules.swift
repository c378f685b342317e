public import Frames

/// One line of the list that decides what wakes a VM, in the form in which it is matched.
public struct Rule: Codable, Hashable, Sendable {
  /// Addresses of one family that share their leading bits; the bits that do not count are 0 in all four.
  public struct Network: Codable, Hashable, Sendable {
    let isIPv6: Bool
    let high: UInt64
    let low: UInt64
    let highMask: UInt64
    let lowMask: UInt64

    /// - Parameters:
    ///   - address: any in the network.
    ///   - prefixLength: how many leading bits count; more than there are count as all.
    public init(_ address: IPAddress, prefixLength: Int) {
      let (high, low) = address.words
      isIPv6 = address.family == 6
      // An IPv4 address is the lower half's lower half.
      let bits = min(max(prefixLength, 0), isIPv6 ? 128 : 32) + (isIPv6 ? 0 : 96)
      highMask = bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits))
      lowMask = bits <= 64 ? 0 : ~(UInt64.max >> UInt64(bits - 64))
      self.high = high & highMask
      self.low = low & lowMask
    }

    @inline(__always)
    func contains(_ high: UInt64, _ low: UInt64, isIPv6: Bool) -> Bool {
      self.isIPv6 == isIPv6 && high & highMask == self.high && low & lowMask == self.low
    }
  }

  public enum Transport: String, Codable, Hashable, Sendable {
    case any, tcp, udp, icmp
  }

  public enum Verdict: Codable, Hashable, Sendable {
    case wake
    case ignore
    case refuse
    /// With the seconds after which demand that goes on wakes the VM.
    case `defer`(wakeAfterSeconds: UInt32?)
  }

  /// Peers; nil for all.
  public let source: Network?
  public let transport: Transport
  /// The guest's ports; nil for all, and for packets without ports.
  public let ports: ClosedRange<UInt16>?
  public let verdict: Verdict

  public init(
    source: Network?, transport: Transport, ports: ClosedRange<UInt16>?, verdict: Verdict
  ) {
    self.source = source
    self.transport = transport
    self.ports = ports
    self.verdict = verdict
  }

  fileprivate func matches(_ packet: RuledPacket) -> Bool {
    switch transport {
    case .any: break
    case .tcp: guard packet.protocolNumber == IPProtocol.tcp else { return false }
    case .udp: guard packet.protocolNumber == IPProtocol.udp else { return false }
    case .icmp:
      guard packet.protocolNumber == (packet.isIPv6 ? IPProtocol.icmpv6 : IPProtocol.icmp) else {
        return false
      }
    }
    if let ports {
      guard let port = packet.guestPort, ports.contains(port) else { return false }
    }
    return source?.contains(packet.peerHigh, packet.peerLow, isIPv6: packet.isIPv6) ?? true
  }
}

/// What of a packet the rules look at, from the guest's side, whichever way it goes.
struct RuledPacket {
  let isIPv6: Bool
  let peerHigh: UInt64
  let peerLow: UInt64
  let protocolNumber: UInt8
  /// Nil for protocols without ports, and for fragments.
  let guestPort: UInt16?

  init(_ packet: IPPacket, isFromGuest: Bool) {
    let peer = isFromGuest ? packet.destination : packet.source
    isIPv6 = peer.family == 6
    (peerHigh, peerLow) = peer.words
    protocolNumber = packet.protocolNumber
    switch packet.transport {
    case .tcp(let segment):
      guestPort = isFromGuest ? segment.sourcePort : segment.destinationPort
    case .udp(let datagram):
      guestPort = isFromGuest ? datagram.sourcePort : datagram.destinationPort
    case .icmp, .icmpv6, .igmp, .fragment, .other:
      guestPort = nil
    }
  }
}

/// The rules that hold for one VM: its own, then those of the host. Copies share their memory, so the
/// host's exist once however many VMs there are.
public struct RuleTable: Hashable, Sendable {
  /// The most rules of a VM, and of the host.
  public static let limit = 64

  public var own: [Rule]
  public var host: [Rule]

  public init(own: [Rule] = [], host: [Rule] = []) {
    self.own = own
    self.host = host
  }

  public var isEmpty: Bool { own.isEmpty && host.isEmpty }
  var count: Int { own.count + host.count }

  /// The first rule that matches, and its place. Looks at ``limit`` rules twice at most and allocates
  /// nothing.
  func match(_ packet: RuledPacket) -> (place: Int, verdict: Rule.Verdict)? {
    for index in own.indices where own[index].matches(packet) { return (index, own[index].verdict) }
    for index in host.indices where host[index].matches(packet) {
      return (own.count + index, host[index].verdict)
    }
    return nil
  }

  /// Whether a frame of this packet, in either direction, says that the VM is used. What would not wake
  /// it asleep does not keep it awake either.
  func countsAsUse(_ packet: IPPacket, isFromGuest: Bool) -> Bool {
    guard !isEmpty, let rule = match(RuledPacket(packet, isFromGuest: isFromGuest)) else {
      return true
    }
    return rule.verdict == .wake
  }
}
