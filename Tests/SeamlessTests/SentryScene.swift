import Frames
import Seamless

/// A guest, a peer and a sentry between them, for one kind of wire.
final class SentryScene {
  /// What the frames look like.
  struct Wire: Hashable, Sendable, CustomStringConvertible {
    var isIPv6: Bool
    var timestamps: Bool
    var tag: Int?

    static let all = [false, true].flatMap { isIPv6 in
      [false, true].flatMap { timestamps in
        [nil, 5].map { Wire(isIPv6: isIPv6, timestamps: timestamps, tag: $0) }
      }
    }
    static let plain = [
      Wire(isIPv6: false, timestamps: true), Wire(isIPv6: true, timestamps: true),
    ]

    init(isIPv6: Bool, timestamps: Bool, tag: Int? = nil) {
      self.isIPv6 = isIPv6
      self.timestamps = timestamps
      self.tag = tag
    }

    var description: String {
      "IPv\(isIPv6 ? 6 : 4)\(timestamps ? " timestamps" : "")\(tag.map { " VLAN \($0)" } ?? "")"
    }
  }

  enum Way {
    case toGuest
    case fromGuest
  }

  static let guestMAC = MACAddress(rawValue: 0x5254_0012_3456)
  static let peerMAC = MACAddress(rawValue: 0x5254_0099_9999)
  static let second: UInt64 = 1_000_000_000

  let wire: Wire
  let guest: IPAddress
  let peer: IPAddress
  private let memory: UnsafeMutableRawBufferPointer
  let table: CursorTable
  var learner: Learner
  var sentry: Sentry
  var replies = FrameBuffer()
  var now: UInt64 = 1000 * second

  /// Where the connection of `establish()` stands.
  var guestSequence: UInt32 = 0
  var guestAcknowledgement: UInt32 = 0
  let guestTimestamp: UInt32 = 0xffff_fff0
  let peerTimestamp: UInt32 = 5000
  let guestWindow = 502

  init(_ wire: Wire, capacity: Int = 64) throws {
    self.wire = wire
    if wire.isIPv6 {
      guest = .v6(IPv6Address(high: 0xfd00 << 48, low: 7))
      peer = .v6(IPv6Address(high: 0xfd00 << 48, low: 2))
    } else {
      guest = .v4(IPv4Address(10, 0, 0, 7))
      peer = .v4(IPv4Address(10, 0, 0, 2))
    }
    memory = .allocate(byteCount: CursorTable.byteCount(capacity: capacity), alignment: 64)
    do {
      table = try CursorTable(formatting: memory, guest: Self.guestMAC, seed: 42)
    } catch {
      memory.deallocate()
      throw error
    }
    learner = Learner(table: table, at: now)
    sentry = Sentry(table: table, mtu: 1500, at: now)
  }

  deinit {
    memory.deallocate()
  }

  /// The table as the successor of a sentry that was killed finds it.
  func attached() throws -> CursorTable { try CursorTable(attaching: memory) }

  var tags: [Int] { wire.tag.map { [$0] } ?? [] }

  // MARK: - Frames

  func fromPeer(_ packet: Bytes, to mac: MACAddress = guestMAC, from source: MACAddress = peerMAC)
    -> Bytes
  {
    ethernet(to: mac, from: source, tags: tags, type: etherType(guest), packet)
  }

  func fromGuest(_ packet: Bytes, to mac: MACAddress = peerMAC) -> Bytes {
    ethernet(to: mac, from: Self.guestMAC, tags: tags, type: etherType(guest), packet)
  }

  /// A segment of the connection, as the peer sends it: by default a keepalive.
  func peerSegment(_ change: (inout TCPFields) -> Void = { _ in }) -> Bytes {
    var fields = TCPFields(source: peer, destination: guest)
    fields.sequence = guestAcknowledgement &- 1
    fields.acknowledgement = guestSequence
    if wire.timestamps { fields.timestamps = (peerTimestamp &+ 100, guestTimestamp) }
    change(&fields)
    return fromPeer(ip(peer, guest, 6, fields.bytes))
  }

  func guestSegment(_ change: (inout TCPFields) -> Void = { _ in }) -> Bytes {
    var fields = TCPFields(source: guest, destination: peer, sourcePort: 22, destinationPort: 40000)
    fields.sequence = guestSequence
    fields.acknowledgement = guestAcknowledgement
    fields.window = guestWindow
    if wire.timestamps { fields.timestamps = (guestTimestamp, peerTimestamp) }
    change(&fields)
    return fromGuest(ip(guest, peer, 6, fields.bytes, hops: 63))
  }

  /// The guest's answer to a question about an address of its own.
  func assertion(
    of address: IPAddress, to asker: IPAddress? = nil, _ mac: MACAddress = peerMAC
  ) -> Bytes {
    let asker = asker ?? peer
    switch address {
    case .v4:
      return ethernet(
        to: mac, from: Self.guestMAC, tags: tags, type: 0x0806,
        arp(2, Self.guestMAC, address, mac, asker))
    case .v6:
      let body =
        Bytes([0x60, 0, 0, 0]) + wireForm(address) + [2, 1]
        + wireForm(Self.guestMAC)
      return ethernet(
        to: mac, from: Self.guestMAC, tags: tags, type: 0x86dd,
        ip(address, asker, 58, icmp(address, asker, type: 136, body), hops: 255))
    }
  }

  /// The peer's question about an address, as a broadcast or to its solicited-node group.
  func question(
    about address: IPAddress, from asker: IPAddress? = nil, mac: MACAddress = peerMAC
  ) -> Bytes {
    switch address {
    case .v4:
      return ethernet(
        to: .broadcast, from: mac, tags: tags, type: 0x0806,
        arp(1, mac, asker ?? peer, .zero, address))
    case .v6(let target):
      let source = asker ?? peer
      let group = IPAddress.v6(target.solicitedNode)
      let option = source == .v6(.unspecified) ? [] : [1, 1] + wireForm(mac)
      let body = Bytes([0, 0, 0, 0]) + wireForm(address) + option
      return ethernet(
        to: target.solicitedNode.multicastMAC, from: mac, tags: tags, type: 0x86dd,
        ip(source, group, 58, icmp(source, group, type: 135, body), hops: 255))
    }
  }

  func echoRequest(code: Int = 0, from asker: IPAddress? = nil, _ body: Bytes = [0, 0, 0, 0])
    -> Bytes
  {
    let asker = asker ?? peer
    return fromPeer(
      ip(
        asker, guest, wire.isIPv6 ? 58 : 1,
        icmp(asker, guest, type: wire.isIPv6 ? 128 : 8, code: code, body)))
  }

  func echoReply(_ body: Bytes = [0, 0, 0, 0], to asker: IPAddress? = nil) -> Bytes {
    let asker = asker ?? peer
    return fromGuest(
      ip(
        guest, asker, wire.isIPv6 ? 58 : 1, icmp(guest, asker, type: wire.isIPv6 ? 129 : 0, body),
        hops: 63))
  }

  // MARK: - Acting

  @discardableResult
  func hear(_ frame: Bytes, _ way: Way) -> Activity {
    frame.withUnsafeBytes {
      learner.observe($0, direction: way == .toGuest ? .toGuest : .fromGuest, at: now)
    }
  }

  func judge(_ frame: Bytes) -> Verdict {
    replies.removeAll()
    return frame.withUnsafeBytes { sentry.verdict(for: $0, at: now, replies: &replies) }
  }

  /// All replies to the frame judged last.
  var answers: [Bytes] {
    (0..<replies.count).map { replies.withFrame($0) { Bytes($0) } }
  }

  /// What forbids sleep beside use itself, which is over soon.
  var obstacles: [Obstacle] {
    learner.quiescence(at: now).filter { $0 != .usedJustNow && $0 != .unanswered }
  }

  /// The guest asserts its address, accepts a connection on port 22, receives 10 bytes and sends
  /// 20, all of which are acknowledged.
  /// - Parameter start: the first sequence number of both sides.
  /// - Parameter options: of both SYNs.
  func establish(start: UInt32 = 0xffff_fff8, options: Bytes = []) {
    hear(assertion(of: guest), .fromGuest)
    guestSequence = start
    guestAcknowledgement = start
    hear(
      peerSegment {
        $0.sequence = start; $0.flags = .syn; $0.acknowledgement = 0; $0.options = options
      }, .toGuest)
    guestAcknowledgement &+= 1
    hear(
      guestSegment {
        $0.flags = [.syn, .ack]; $0.options = options
      }, .fromGuest)
    guestSequence &+= 1
    let sent = peerTimestamp
    func said(_ fields: inout TCPFields) {
      if fields.timestamps != nil { fields.timestamps?.0 = sent }
    }
    hear(
      peerSegment {
        said(&$0); $0.sequence = guestAcknowledgement
      }, .toGuest)
    hear(
      peerSegment {
        said(&$0)
        $0.sequence = guestAcknowledgement
        $0.flags = [.ack, .psh]
        $0.payload = Bytes(repeating: 65, count: 10)
      }, .toGuest)
    guestAcknowledgement &+= 10
    hear(
      guestSegment {
        $0.flags = [.ack, .psh]; $0.payload = Bytes(repeating: 66, count: 20)
      }, .fromGuest)
    guestSequence &+= 20
    hear(
      peerSegment {
        said(&$0); $0.sequence = guestAcknowledgement
      }, .toGuest)
    now += 60 * Self.second
    sentry.beginSleep()
  }
}
