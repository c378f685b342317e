/// A frame that is sent to the guest asleep and awake.
struct DifferentialFrame: Sendable {
  /// Its number in the run: with the seed it says all that is not the connection's state.
  let number: Int
  /// For people, and for the counts: the kind up to the first colon.
  let description: String
  let bytes: Bytes
  let key: AnswerKey
  /// The guest answers after a random delay (membership reports).
  let isSlow: Bool

  init(_ number: Int, _ description: String, _ bytes: Bytes, isSlow: Bool = false) {
    self.number = number
    self.description = description
    self.bytes = bytes
    self.isSlow = isSlow
    key = AnswerKey(ofQuestion: bytes)
  }

  var kind: String { String(description.prefix { $0 != ":" }) }
}

/// Makes frames: honest ones, and others that differ from them in one to three places. Each depends on
/// the seed, its number and the state of the connections only.
struct DifferentialGenerator {
  let seed: UInt64
  let guest: DifferentialGuest
  let network: Int
  let stations: [DifferentialStation]
  var flows: [DifferentialFlow]
  /// One for each frame that ends its connection.
  var victims: [DifferentialFlow]
  /// Whether old versions of IGMP and MLD may be spoken; the guest remembers it for minutes.
  let speaksOldVersions: Bool
  /// Groups that the guest has joined.
  static let ipv4Group = "239.77.0.1"
  static let ipv6Group = "ff05::77:1"

  /// Ports at which the guest has refused the first stations.
  static let refusedTCPPorts = [1, 65_535]
  static let refusedUDPPorts = [9, 53]
  /// The sentry remembers eight refusals: of two stations by two protocols of two families.
  static let refusedStations = 2
  /// The sentry remembers the ways to sixty peers: to those that ping, by both families and link-locally.
  static let pingingStations = 16

  var random = SeededGenerator(seed: 0)

  /// - Returns: nil when the kind needs what is used up.
  mutating func frame(_ number: Int) -> DifferentialFrame? {
    random = SeededGenerator(seed: seed &+ UInt64(number) &* 0x9e37_79b9_7f4a_7c15)
    _ = random.next()
    switch pick(1000) {
    case ..<480: return segmentFrame(number)
    case ..<490: return victimFrame(number)
    case ..<530: return strangerFrame(number)
    case ..<680: return echoFrame(number)
    case ..<740: return otherICMP(number)
    case ..<820: return arpFrame(number)
    case ..<920: return neighbourFrame(number)
    case ..<926: return membershipFrame(number)
    case ..<960: return datagramFrame(number)
    default: return oddFrame(number)
    }
  }

  mutating func pick(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }

  mutating func pick<Element>(_ choices: [Element]) -> Element {
    choices[Int.random(in: choices.indices, using: &random)]
  }

  mutating func chance(_ percent: Int) -> Bool { pick(100) < percent }

  mutating func bytes(_ count: Int) -> Bytes {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
  }

  mutating func word() -> UInt32 { UInt32.random(in: 0...(.max), using: &random) }

  /// A station that nothing else in the same handful of frames uses.
  func station(_ number: Int) -> DifferentialStation { stations[number % stations.count] }

  /// One that the guest has refused, in half of all cases.
  mutating func perhapsRefusedStation(_ number: Int) -> DifferentialStation {
    chance(50) ? stations[number % Self.refusedStations] : station(number)
  }

  /// An address of the stations' network that none has and whose owner the guest must ask for.
  func strangeAddress(_ number: Int, isIPv6: Bool) -> Bytes {
    isIPv6
      ? addressBytes("fd77:\(String(network, radix: 16))::5:\(String(number & 0xffff, radix: 16))")
      : [10, 77, UInt8(network), UInt8(40 + number % 50)]
  }

  /// What can be wrong with the link and the IP header of any packet; returns what was done.
  mutating func disturb(_ packet: inout PacketForm) -> String {
    let isIPv6 = packet.source.count == 16
    switch pick(22) {
    case 0, 1:
      packet.trafficClass = pick([0x02, 0x10, 0x48, 0xb8, 0xff, 0x01])
      return "traffic class \(packet.trafficClass)"
    case 2:
      packet.trafficClass |= 3
      return "congestion experienced"
    case 3:
      packet.hopLimit = pick([0, 1, 2, 63, 255])
      return "hop limit \(packet.hopLimit)"
    case 4:
      packet.fragment = isIPv6 ? 0 : pick([0, 0x8000, 0xc000])
      return "fragment field \(packet.fragment)"
    case 5:
      packet.padding = bytes(pick([1, 2, 6, 18, 46]))
      return "padding of \(packet.padding.count)"
    case 6:
      packet.identification = pick(65_536)
      // Linux draws a new label for a TCP connection whose peer does.
      if packet.next != Above.tcp { packet.flowLabel = pick(1 << 20) }
      return "another identification"
    case 7:
      packet.tags = [(0x8100, pick([0, 0x2000, 0xe000, 0x1000]))]
      return "priority tag"
    case 8:
      packet.tags = [(pick([0x8100, 0x88a8]), pick([1, 5, 0xfff, 0x2005]))]
      return "VLAN \(packet.tags[0].control)"
    case 9:
      packet.tags = [(0x88a8, pick([0, 7])), (0x8100, pick([0, 5]))]
      return "two tags"
    case 10:
      packet.to[5] ^= 0x40
      return "for another MAC"
    case 11:
      packet.to = pick([
        Bytes(repeating: 0xff, count: 6), DifferentialGuest.groupMAC(packet.destination),
        [0x33, 0x33, 0, 0, 0, 1], [0x01, 0x00, 0x5e, 0, 0, 1],
      ])
      return "to a group's MAC"
    case 12:
      packet.fragment |= 0x2000
      if isIPv6 { packet.extensions = [(44, [0] + be16(1) + be32(77))] }
      return "first fragment"
    case 13:
      packet.fragment = 0x4003
      if isIPv6 { packet.extensions = [(44, [0] + be16(0) + be32(77))] }
      return "fragment"
    case 14:
      packet.options = pick([
        [1, 1, 1, 1], [0x94, 4, 0, 0], [7, 7, 4, 0, 0, 0, 0, 0], [0x44, 0, 0, 0], [0x83, 9, 0, 0],
        [0, 0, 0, 0], [0x99, 4, 0, 0], [0x44, 8, 5, 0, 0, 0, 0, 0],
      ])
      packet.extensions = pick([
        [(0, [0, 1, 4, 0, 0, 0, 0])], [(60, [0, 1, 4, 0, 0, 0, 0])],
        [(60, [0, 0xc3, 4, 0, 0, 0, 0])], [(43, [0, 0, 0, 0, 0, 0, 0])],
        [(43, [0, 4, 9, 0, 0, 0, 0])], [(60, [9, 1, 4, 0, 0, 0, 0])],
        [(0, [0, 0x05, 2, 0, 0, 1, 0])],
      ])
      return "options or extension headers"
    case 15:
      packet.breaksHeaderChecksum = true
      if isIPv6 { packet.version = 4 }
      return "broken header"
    case 16:
      packet.version = pick([0, 4, 5, 6, 15])
      return "version \(packet.version ?? 0)"
    case 17:
      packet.declaredLength =
        packet.payload.count + (isIPv6 ? 0 : 20) + pick([-21, -8, -4, -1, 1, 4, 1500])
      packet.declaredLength = max(0, packet.declaredLength ?? 0)
      return "length \(packet.declaredLength ?? 0)"
    case 18:
      packet.source = pick(oddSources(isIPv6: isIPv6))
      return "source \(packet.source.hexadecimal)"
    case 19:
      packet.destination = pick(oddDestinations(isIPv6: isIPv6))
      return "destination \(packet.destination.hexadecimal)"
    case 20:
      // None that the bridge would not forward.
      packet.from = pick([guest.mac, [0x02, 0xd1, 0xff, 0, 3, packet.from[5]]])
      return "from \(packet.from.hexadecimal)"
    default:
      packet.payload = Bytes(packet.payload.prefix(pick([0, 1, 4, 7, 8, 12, 19])))
      return "cut to \(packet.payload.count)"
    }
  }

  private func oddSources(isIPv6: Bool) -> [Bytes] {
    isIPv6
      ? [
        addressBytes("::"), addressBytes("::1"), addressBytes("ff02::1"),
        addressBytes("2001:db8::9"), addressBytes("::ffff:10.0.0.1"), guest.ipv6, guest.linkLocal,
        addressBytes("fe80::9"), addressBytes("fec0::9"),
      ]
      : [
        [0, 0, 0, 0], [127, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 5], [8, 8, 8, 8],
        [10, 77, UInt8(network), 255], [10, 77, UInt8(network), 0], [10, 78, 1, 1], [0, 0, 0, 9],
        [240, 0, 0, 1], guest.ipv4,
      ]
  }

  private func oddDestinations(isIPv6: Bool) -> [Bytes] {
    isIPv6
      ? [
        addressBytes("ff02::1"), addressBytes("ff02::2"), addressBytes(Self.ipv6Group),
        addressBytes("::1"), addressBytes("2001:db8::7"), addressBytes("::"),
        strangeAddress(3, isIPv6: true), DifferentialGuest.solicitedNode(guest.ipv6),
      ]
      : [
        [255, 255, 255, 255], [10, 77, UInt8(network), 255], [10, 77, UInt8(network), 0],
        [224, 0, 0, 1], addressBytes(Self.ipv4Group), [127, 0, 0, 1], [0, 0, 0, 0], [10, 77, 9, 9],
        [169, 254, 1, 1],
      ]
  }
}
