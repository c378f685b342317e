import Glibc
import LinuxNetwork
import LinuxSystem

/// Who talks to the emulated guests: one interface per bridge in a namespace of its own, without any address,
/// so that its kernel says nothing by itself.
final class EmulatedClient: Sendable {
  private let sockets: Sockets

  private struct Sockets: ~Copyable, Sendable {
    var senders: [PacketSocketBox]
    var receivers: [PacketSocketBox]
  }

  /// A packet socket in an array.
  private final class PacketSocketBox: Sendable {
    let socket: PacketSocket
    init(_ socket: consuming PacketSocket) { self.socket = socket }
  }

  /// What became of a number of requests.
  struct Outcome: Sendable {
    var sent = 0
    var answered = 0
    var seconds = 0.0
  }

  /// To be called in the client's namespace.
  init(interfaces: [String]) throws {
    let netlink = try RouteNetlink()
    var senders: [PacketSocketBox] = []
    var receivers: [PacketSocketBox] = []
    for name in interfaces {
      let index = try netlink.index(of: name)
      senders.append(
        PacketSocketBox(try PacketSocket.open(onInterface: index, mode: .injecting)))
      receivers.append(
        PacketSocketBox(
          try PacketSocket.open(
            onInterface: index, mode: .learning(snapLength: 64), receiveBuffer: 64 << 20)))
    }
    sockets = Sockets(senders: senders, receivers: receivers)
  }

  /// Sends one frame onto a bridge; false when there was no room for it.
  @discardableResult
  func send(_ frame: [UInt8], bridge: Int) throws -> Bool {
    do {
      try frame.withUnsafeBytes { try sockets.senders[bridge].socket.send($0) }
      return true
    } catch let error as LinuxError where error.code == .exhausted {
      return false
    }
  }

  /// Sends requests, each of which has one answer, and counts the answers until all have come or a second
  /// has passed without any. Blocks.
  ///
  /// - Parameters:
  ///   - guests: those that are asked; the answers of others are not counted.
  ///   - window: requests without an answer at a time.
  ///   - perSecond: at this rate, evenly; as fast as they are answered without one.
  ///   - request: the number of the bridge and the frame.
  func exchange(
    _ count: Int, with guests: Range<Int>, window: Int, perSecond: Double? = nil,
    request: (Int) -> (bridge: Int, frame: [UInt8])
  ) throws -> Outcome {
    _ = try receive(from: guests)
    var outcome = Outcome()
    let start = MonotonicClock.nowNanoseconds()
    var lastAnswer = start
    while outcome.answered < count {
      let now = MonotonicClock.nowNanoseconds()
      let due = perSecond.map { min(count, Int(Double(now - start) * $0 / 1e9) + 1) } ?? count
      var isIdle = true
      while outcome.sent < due, outcome.sent - outcome.answered < window {
        let (bridge, frame) = request(outcome.sent)
        guard try send(frame, bridge: bridge) else { break }
        outcome.sent += 1
        lastAnswer = now
        isIdle = false
        if outcome.sent.isMultiple(of: 16) { break }
      }
      let received = try receive(from: guests)
      outcome.answered += received
      if received > 0 { lastAnswer = now }
      guard isIdle, received == 0 else { continue }
      if outcome.sent == count, now - lastAnswer > 1_000_000_000 { break }
      usleep(200)
    }
    outcome.seconds = Double(MonotonicClock.nowNanoseconds() - start) / 1e9
    return outcome
  }

  /// Takes in all frames that have come since the last call, and counts those of some guests for the client.
  private func receive(from guests: Range<Int>) throws -> Int {
    var count = 0
    var buffer = [UInt8](repeating: 0, count: 64)
    for receiver in sockets.receivers {
      while let frame = try receiver.socket.receive(into: &buffer) {
        // The last two bytes of a guest's MAC address are its number.
        if frame.direction == .fromGuest, buffer[..<6].elementsEqual(EmulatedFrames.clientMAC),
          guests.contains(Int(buffer[10]) << 8 | Int(buffer[11]))
        {
          count += 1
        }
      }
    }
    return count
  }
}
