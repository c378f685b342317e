import Glibc
import LinuxNetwork
import LinuxSystem
import Synchronization

/// The cable between a client and the bridge. It records every frame, and loses those that a test wants
/// lost.
///
/// Its ends are taps, which offer no offloads: what passes is as it would be on a real wire, cut to the
/// MTU and with its checksums.
public final class Wire: Sendable {
  /// Where a frame comes from.
  public enum End: Sendable, Hashable {
    case client
    case network
  }

  /// A frame that came into the wire.
  public struct Passage: Sendable, CustomStringConvertible {
    public let origin: End
    public let frame: [UInt8]
    /// It did not come out.
    public let isLost: Bool
    public let at: ContinuousClock.Instant

    public var description: String {
      let what = ObservedSegment(frame[...])?.description ?? "\(frame.prefix(80))"
      return "\(at) from the \(origin)\(isLost ? ", lost" : ""): \(what)"
    }
  }

  /// One segment among those that come from an end.
  public enum Choice: Sendable, Hashable {
    /// Counted from the order on, 1 for the next.
    case number(Int)
    /// The next with FIN.
    case finish
  }

  private struct Loss {
    var choice: Choice
    let origin: End
    let port: UInt16
  }

  private struct State {
    var passages: [Passage] = []
    var loss: Loss?
    var lost: ObservedSegment?
    var isCut = false
  }

  /// The taps, which go away with this.
  private struct Ends: ~Copyable, Sendable {
    let client: Tap
    let network: Tap
  }

  private let state = Mutex(State())
  /// Taken by the thread that relays.
  private let ends: Mutex<Ends?>
  private let relaying = Mutex<Task<Void, any Error>?>(nil)

  init(client: consuming Tap, network: consuming Tap) {
    ends = Mutex(Ends(client: client, network: network))
    let task = Task { try await onBlockingThread("wire") { self.relay() } }
    relaying.withLock { $0 = task }
  }

  /// Everything that came into the wire so far.
  public var passages: [Passage] { state.withLock { $0.passages } }

  /// Loses one TCP segment.
  ///
  /// - Parameters:
  ///   - origin: the end that it comes from; the other direction's segments are not looked at.
  ///   - port: the guest's.
  public func lose(_ choice: Choice, from origin: End, port: UInt16 = 7777) {
    state.withLock { state in
      state.loss = Loss(choice: choice, origin: origin, port: port)
      state.lost = nil
    }
  }

  /// The segment that was lost by order, once it is.
  public var lostSegment: ObservedSegment? { state.withLock { $0.lost } }

  /// Ends the relaying and takes the taps away. The client has no network any more.
  public func cut() async {
    state.withLock { $0.isCut = true }
    _ = await relaying.withLock { $0 }?.result
  }

  private func relay() {
    guard let taken = ends.withLock({ $0.take() }) else { return }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var ends = [
      pollfd(fd: taken.client.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: taken.network.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    // The numbers are those of descriptors that live to the end of this.
    defer { extendLifetime(taken) }
    while !state.withLock({ $0.isCut }) {
      // An interface that is down or gone reads as an error at once, and must not be asked without pause.
      guard poll(&ends, 2, 100) >= 0 || errno == EINTR else { return }
      let moved = pass(ends[0].fd, ends[1].fd, .client, &buffer)
      if pass(ends[1].fd, ends[0].fd, .network, &buffer) + moved == 0 { usleep(500) }
    }
  }

  /// Moves what waits at one end; returns how many frames there were.
  private func pass(_ from: CInt, _ to: CInt, _ origin: End, _ buffer: inout [UInt8]) -> Int {
    for count in 0..<64 {
      let length = read(from, &buffer, buffer.count)
      guard length > 0 else { return count }
      let frame = Array(buffer[..<length])
      // A full queue loses it, as on any wire.
      if take(frame, origin) { _ = write(to, frame, frame.count) }
    }
    return 64
  }

  /// Records a frame; returns whether it passes.
  private func take(_ frame: [UInt8], _ origin: End) -> Bool {
    state.withLock { state in
      let segment = ObservedSegment(frame[...])
      let isLost = segment.map { carryOut(&state.loss, on: $0, origin) } ?? false
      if isLost { state.lost = segment }
      state.passages.append(Passage(origin: origin, frame: frame, isLost: isLost, at: .now))
      return !isLost
    }
  }

  /// Whether an order is for this segment; then it is done with.
  private func carryOut(
    _ order: inout Loss?, on segment: ObservedSegment, _ origin: End
  ) -> Bool {
    let guestPort = (origin == .client ? segment.flow : segment.flow.reversed).destinationPort
    guard let loss = order, loss.origin == origin, loss.port == guestPort else { return false }
    switch loss.choice {
    case .finish:
      guard segment.isFinish else { return false }
    case .number(let number):
      guard number == 1 else {
        order?.choice = .number(number - 1)
        return false
      }
    }
    order = nil
    return true
  }
}
