/// Tells which question a frame of the guest's answers. A question and its answer have the same key;
/// questions that are open at the same time have different ones.
struct AnswerKey: Hashable, Sendable {
  private let bytes: Bytes

  private init(_ kind: UInt8, _ parts: Bytes?...) {
    bytes = [kind] + parts.flatMap { $0 ?? [] }
  }

  /// The key of a frame that is sent to the guest. Frames that are too broken for an answer have the key
  /// of their bytes.
  init(ofQuestion frame: Bytes) {
    let (type, offset) = Self.network(of: frame)
    switch type {
    case 0x0806:
      self.init(1, frame.piece(offset + 8, 10))
    case 0x0800, 0x86dd:
      self.init(ofPacket: frame, at: offset)
    default:
      self.init(0, frame)
    }
  }

  /// The key of the questions that a frame of the guest's may answer; nil for what is not an answer.
  init?(ofAnswer frame: Bytes) {
    let (type, offset) = Self.network(of: frame)
    switch type {
    case 0x0806:
      guard frame.number(offset + 6, 2) == 2 else { return nil }
      self.init(1, frame.piece(offset + 18, 10))
    case 0x0800:
      let start = offset + Int((frame.number(offset, 1) ?? 0) & 15) * 4
      let destination = frame.piece(offset + 16, 4)
      self.init(
        protocol: frame.number(offset + 9, 1) ?? 0, destination, start, frame, isIPv6: false)
    case 0x86dd:
      let destination = frame.piece(offset + 24, 16)
      guard let (next, start) = Self.transport(of: frame, at: offset) else { return nil }
      self.init(protocol: next, destination, start, frame, isIPv6: true)
    default:
      return nil
    }
  }

  /// The answer's view: its destination is who has asked.
  private init?(
    protocol next: Int, _ asker: Bytes?, _ start: Int, _ frame: Bytes, isIPv6: Bool
  ) {
    switch (next, frame.number(start, 1) ?? 256) {
    case (Above.tcp, _), (Above.udp, _):
      self.init(
        UInt8(next), asker, frame.piece(start + 2, 2), frame.piece(start, 2))
    case (Above.icmp, 0), (Above.icmp, 14), (Above.icmpv6, 129):
      self.init(UInt8(next), asker, frame.piece(start + 4, 4))
    case (Above.icmp, 3), (Above.icmp, 11), (Above.icmp, 12), (Above.icmpv6, 1...4):
      self.init(ofPacket: frame, at: start + 8)
    case (Above.icmpv6, 136):
      let isProbe = asker?.first == 0xff
      self.init(
        136, isProbe ? Bytes(repeating: 0, count: 16) : asker, frame.piece(start + 8, 16))
    case (Above.icmpv6, 131), (Above.icmpv6, 143):
      self.init(131)
    case (Above.igmp, 0x12), (Above.igmp, 0x16), (Above.igmp, 0x22):
      self.init(Above.igmpKey)
    default:
      return nil
    }
  }

  /// The key of a packet that asks, or that an ICMP error quotes.
  private init(ofPacket frame: Bytes, at offset: Int) {
    let isIPv6 = (frame.number(offset, 1) ?? 0) >> 4 == 6
    let source = isIPv6 ? frame.piece(offset + 8, 16) : frame.piece(offset + 12, 4)
    let next: Int
    let start: Int
    if isIPv6 {
      guard let found = Self.transport(of: frame, at: offset) else {
        self.init(9, source)
        return
      }
      (next, start) = found
    } else {
      next = frame.number(offset + 9, 1) ?? 0
      start = offset + ((frame.number(offset, 1) ?? 0) & 15) * 4
    }
    switch (next, frame.number(start, 1) ?? 256) {
    case (Above.tcp, _), (Above.udp, _):
      self.init(UInt8(next), source, frame.piece(start, 2), frame.piece(start + 2, 2))
    case (Above.icmpv6, 135):
      self.init(136, source, frame.piece(start + 8, 16))
    case (Above.icmpv6, 130):
      self.init(131)
    case (Above.igmp, _):
      self.init(Above.igmpKey)
    case (Above.icmp, _), (Above.icmpv6, _):
      self.init(UInt8(next), source, frame.piece(start + 4, 4))
    default:
      self.init(10, source, [UInt8(next & 255)])
    }
  }

  /// The protocol above IP; nil for what is not IP or is cut off.
  static func transport(of frame: Bytes) -> Int? {
    let (type, offset) = network(of: frame)
    return switch type {
    case 0x0800: frame.number(offset + 9, 1)
    case 0x86dd: transport(of: frame, at: offset)?.next
    default: nil
    }
  }

  /// The EtherType behind the tags, and where the network layer begins.
  static func network(of frame: Bytes) -> (type: Int, offset: Int) {
    var offset = 12
    while let type = frame.number(offset, 2), type == 0x8100 || type == 0x88a8 { offset += 4 }
    return (frame.number(offset, 2) ?? 0, offset + 2)
  }

  /// The protocol above IPv6, and where it begins; nil for a fragment or a chain without end.
  static func transport(of frame: Bytes, at offset: Int) -> (next: Int, start: Int)? {
    guard var next = frame.number(offset + 6, 1) else { return nil }
    var start = offset + 40
    for _ in 0..<12 {
      switch next {
      case 0, 43, 60, 135, 139, 140:
        guard let successor = frame.number(start, 1), let length = frame.number(start + 1, 1)
        else { return nil }
        next = successor
        start += (length + 1) * 8
      case 44:
        return nil
      default:
        return (next, start)
      }
    }
    return nil
  }
}

extension Above {
  fileprivate static let igmpKey: UInt8 = 2
}
