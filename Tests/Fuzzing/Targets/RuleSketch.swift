import Frames
import Seamless

/// A rule that an input chooses: one for the sentry, and a second reading of it for the witness.
///
/// Bits: 0 and 1 the verdict, 2 and 3 the protocol, 4 and 5 the ports, 6 and 7 whose packets.
struct RuleSketch {
  enum Verdict: UInt8 {
    case wake
    case ignore
    case refuse
    case `defer`
  }

  let bits: UInt8

  var verdict: Verdict { Verdict(rawValue: bits & 3) ?? .wake }
  /// Demand that goes on wakes in the end.
  var isLimited: Bool { verdict == .defer && bits & 4 != 0 }

  private var ports: ClosedRange<UInt16>? {
    switch bits >> 4 & 3 {
    case 0: nil
    case 1: 0...255
    case 2: 256...511
    default: 265...265
    }
  }

  var rule: Rule {
    let transports: [Rule.Transport] = [.any, .tcp, .udp, .icmp]
    let source: Rule.Network? =
      switch bits >> 6 {
      case 0: nil
      case 1: Rule.Network(.v4(IPv4Address(rawValue: 0x0a00_0063)), prefixLength: 24)
      case 2: Rule.Network(.v6(IPv6Address(high: 0xfd << 56, low: 2)), prefixLength: 128)
      default: Rule.Network(.v4(IPv4Address(rawValue: 0x0a00_0003)), prefixLength: 32)
      }
    let verdict: Rule.Verdict =
      switch self.verdict {
      case .wake: .wake
      case .ignore: .ignore
      case .refuse: .refuse
      case .defer: .defer(wakeAfterSeconds: isLimited ? 5 : nil)
      }
    return Rule(
      source: source, transport: transports[Int(bits >> 2 & 3)], ports: ports, verdict: verdict)
  }

  /// Whether the rule is about a packet to the guest, of which `bytes` is the frame.
  func matches(_ packet: WirePacket, in bytes: [UInt8]) -> Bool {
    let peer = [UInt8](packet.source)
    switch bits >> 6 {
    case 0: break
    case 1: guard peer.starts(with: [10, 0, 0]), peer.count == 4 else { return false }
    case 2: guard peer == Station.peer.ipv6 else { return false }
    default: guard peer == [10, 0, 0, 3] else { return false }
    }
    switch bits >> 2 & 3 {
    case 0: break
    case 1: guard packet.protocolNumber == 6 else { return false }
    case 2: guard packet.protocolNumber == 17 else { return false }
    default: guard packet.protocolNumber == (packet.isIPv6 ? 58 : 1) else { return false }
    }
    guard let ports else { return true }
    guard packet.protocolNumber == 6 || packet.protocolNumber == 17, !packet.isFragment,
      packet.transport.count >= 4
    else { return false }
    return ports.contains(UInt16(bigEndian(bytes, packet.transport.lowerBound + 2, 2)))
  }
}

extension UsedPorts {
  /// Ports 22 and 256, and 265 unless bit 0 is set; bit 1: the list alone is trusted.
  init(sketch bits: UInt8) {
    let ports: [UInt16] = bits & 1 == 0 ? [22, 256, 265] : [22, 256]
    self.init(trust: bits & 2 == 0 ? .exact : .list, tcp: ports, udp: ports)
  }
}
