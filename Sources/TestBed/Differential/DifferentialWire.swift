import Glibc
import LinuxNetwork
import LinuxSystem
import Synchronization

/// A client's interface as the tester uses it: it sends any frame, as if from any number of machines, and
/// sees all that the guest sends. Its calls wait; they belong on a thread that may block.
final class DifferentialWire: Sendable {
  private let sender: FrameSender
  private let watch: PacketSocket
  private let guest: Bytes
  /// Who has which address, as the frames that were sent say: the guest may have to ask before it can
  /// answer.
  private let owners: Mutex<[Bytes: Bytes]>
  /// Those of the stations never change.
  private let stations: Set<Bytes>
  /// What ends each connection that the guest has closed and nobody has answered.
  private let looseEnds = Mutex<[AnswerKey: Bytes]>([:])

  /// A frame is 1514 bytes and a tag or two.
  private static let longestFrame = 2_048

  init(on client: LabClient, guest: Bytes, stations: [DifferentialStation]) async throws {
    self.guest = guest
    let owned = stations.flatMap { station in
      [station.ipv4, station.ipv6, station.linkLocal].map { ($0, station.mac) }
    }
    owners = Mutex(Dictionary(uniqueKeysWithValues: owned))
    self.stations = Set(owned.map(\.0))
    sender = try await FrameSender(on: client)
    watch = try await client.namespace.perform {
      try PacketSocket.open(
        onInterface: try RouteNetlink().index(of: "eth0"),
        mode: .learning(snapLength: DifferentialWire.longestFrame), receiveBuffer: 32 << 20)
    }
  }

  /// Whether the interface takes a frame: its MTU and a header, and a tag of 802.1Q beyond that.
  static func canSend(_ frame: Bytes) -> Bool {
    (14...(frame.number(12, 2) == 0x8100 ? 1_518 : 1_514)).contains(frame.count)
  }

  func send(_ frame: Bytes) throws {
    remember(frame)
    // The interface takes no frame without a whole header, and no longer one than its MTU.
    try sender.send(frame)
  }

  /// What the guest has sent, in order; answers its questions for the addresses of machines that are not
  /// there. Waits until `isEnough`, at most for `limit`.
  func receive(
    within limit: Duration, until isEnough: ([Bytes]) -> Bool
  ) throws -> [Bytes] {
    let clock = ContinuousClock()
    let end = clock.now + limit
    var buffer = Bytes(repeating: 0, count: Self.longestFrame)
    var frames: [Bytes] = []
    while true {
      while let received = try watch.receive(into: &buffer) {
        guard received.direction == .fromGuest else { continue }
        var frame = Bytes(buffer[..<received.capturedLength])
        guard frame.piece(6, 6) == guest else { continue }
        if let tag = received.vlanTag {
          frame.insert(contentsOf: be16(0x8100) + be16(Int(tag)), at: 12)
        }
        if try !answerQuestion(frame) {
          noteEnd(frame)
          frames.append(frame)
        }
      }
      if isEnough(frames) { return frames }
      let left = end - clock.now
      guard left > .zero else { return frames }
      var request = pollfd(fd: watch.descriptor, events: Int16(POLLIN), revents: 0)
      poll(&request, 1, Int32(clamping: Int(left.inSeconds * 1_000) + 1))
    }
  }

  /// Forgets what has come until now.
  func discard() throws {
    _ = try receive(within: .zero) { _ in true }
  }

  /// Takes the connections that the guest has closed since the last call.
  func takeLooseEnds() -> [AnswerKey: Bytes] {
    looseEnds.withLock { ends in
      defer { ends = [:] }
      return ends
    }
  }

  private func noteEnd(_ frame: Bytes) {
    guard let segment = GuestSegment(in: frame), segment.flags & 0x01 != 0,
      let key = AnswerKey(ofAnswer: frame)
    else { return }
    looseEnds.withLock { $0[key] = segment.reset }
  }

  /// Notes whose address a frame comes from.
  private func remember(_ frame: Bytes) {
    let (type, offset) = AnswerKey.network(of: frame)
    let address: Bytes? =
      switch type {
      case 0x0800: frame.piece(offset + 12, 4)
      case 0x86dd: frame.piece(offset + 8, 16)
      case 0x0806: frame.piece(offset + 14, 4)
      default: nil
      }
    guard let address, !stations.contains(address), let mac = frame.piece(6, 6) else { return }
    owners.withLock { $0[address] = mac }
  }

  /// Answers an ARP request or a neighbour solicitation of the guest's; returns whether it was one.
  private func answerQuestion(_ frame: Bytes) throws -> Bool {
    let (type, offset) = AnswerKey.network(of: frame)
    if type == 0x0806, frame.number(offset + 6, 2) == 1,
      let asker = frame.piece(offset + 14, 4), let target = frame.piece(offset + 24, 4)
    {
      if let mac = owners.withLock({ $0[target] }) {
        try sender.send(
          guest + mac + be16(0x0806) + [0, 1, 8, 0, 6, 4, 0, 2] + mac + target + guest + asker)
      }
      return true
    }
    if type == 0x86dd, let (next, start) = AnswerKey.transport(of: frame, at: offset),
      next == Above.icmpv6, frame.number(start, 1) == 135,
      let asker = frame.piece(offset + 8, 16), let target = frame.piece(start + 8, 16)
    {
      if let mac = owners.withLock({ $0[target] }) {
        let message: Bytes = [136, 0, 0, 0, 0x60, 0, 0, 0] + target + [2, 1] + mac
        try sender.send(
          PacketForm(
            to: guest, from: mac, source: target, destination: asker, next: Above.icmpv6,
            payload: summed(message, at: 2, target, asker, Above.icmpv6), hopLimit: 255
          ).bytes)
      }
      return true
    }
    return false
  }
}
