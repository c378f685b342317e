/// A stream of frames from a hostile peer to a guest, for processes that really run. The same seed makes
/// the same stream.
public struct HostileFrames: Sendable {
  private let guest: Station
  private let peer: Station
  private var state: UInt64

  public init(from peer: Station, to guest: Station, seed: UInt64) {
    self.peer = peer
    self.guest = guest
    state = seed
  }

  /// Well-formed, damaged and senseless frames of every kind. MAC addresses are left alone, or a bridge
  /// would learn them.
  public mutating func next() -> [UInt8] {
    var frame = sketch()
    guard number(4) != 0 else { return frame }
    for _ in 0...number(4) {
      let position = 12 + number(frame.count - 12)
      switch number(6) {
      case 0: frame.removeLast(min(number(40), frame.count - 14))
      case 1: frame.insert(UInt8(number(256)), at: position)
      case 2: frame += [UInt8](repeating: UInt8(number(256)), count: number(1514 - frame.count))
      default: frame[position] ^= UInt8(1 + number(255))
      }
    }
    return number(2) == 0 ? frame : WireFrame(frame)?.repaired ?? frame
  }

  /// Frames that a sleeping guest need not see: questions that the sentry answers, resets of connections
  /// that do not exist, and packets with wrong checksums.
  public mutating func nextHarmless() -> [UInt8] {
    switch number(4) {
    case 0:
      return sketches.other([0, 2][number(2)], UInt8(number(240)) & ~1)
    case 1:
      return segment(flags: 0x04)
    default:
      var frame = segment(flags: UInt8(number(256)))
      guard let packet = WireFrame(frame)?.packet else { return frame }
      // One changed byte never leaves the sum as it was.
      frame[packet.transport.lowerBound + number(packet.transport.count)] ^= UInt8(1 + number(255))
      return frame
    }
  }

  private var sketches: Sketches {
    Sketches(isIPv6: state >> 40 & 1 != 0, isFromGuest: false, guest: guest, peer: peer)
  }

  private mutating func sketch() -> [UInt8] {
    number(2) == 0
      ? segment(flags: UInt8(number(256)))
      : sketches.other(UInt8(number(8)), UInt8(number(256)))
  }

  private mutating func segment(flags: UInt8) -> [UInt8] {
    sketches.segment(
      sequence: UInt32(truncatingIfNeeded: random()),
      acknowledgement: UInt32(truncatingIfNeeded: random()), flags: flags,
      timestamps: number(2) == 0 ? nil : (UInt32(truncatingIfNeeded: random()), 0),
      payloadLength: number(number(8) == 0 ? 1400 : 8))
  }

  /// From 0 on, less than `bound`; 0 if there is none.
  private mutating func number(_ bound: Int) -> Int {
    bound <= 1 ? 0 : Int(truncatingIfNeeded: random() >> 33) % bound
  }

  /// splitmix64.
  private mutating func random() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }
}
