import LinuxNetwork
import LinuxSystem
import Synchronization

/// Counts the TCP keepalive probes that a client sends, and those that were answered, by watching its
/// interface.
///
/// A probe is a segment with nothing new: no flags but ACK, at most one byte, just below what the peer
/// has acknowledged (RFC 9293, 3.8.4). Its answer acknowledges the sequence number after it. Start the
/// counter before the connections are made: it has to see what was acknowledged.
public final class KeepaliveCounter: Sendable {
  /// What was seen so far.
  public struct Count: Sendable, Hashable {
    public var sent = 0
    public var answered = 0
    /// Probes so recent that their answer may still come; they are in ``sent``.
    public var open = 0

    /// Nothing yet.
    public init() {}
  }

  /// A probe that got no answer before the next one of its connection.
  public struct Miss: Sendable, Hashable {
    public let at: ContinuousClock.Instant
    /// When the connection's probe before it was sent; nil for its first.
    public let previous: ContinuousClock.Instant?
  }

  private struct Probe {
    let at: ContinuousClock.Instant
    let previous: ContinuousClock.Instant?
    let sequence: UInt32
    var isAnswered = false
  }

  private struct Flow {
    var acknowledged: UInt32?
    /// The index of the newest probe.
    var lastProbe: Int?
    /// The index of the probe that waits for its answer.
    var openProbe: Int?
  }

  private struct State {
    var probes: [Probe] = []
    var flows: [ObservedFlow: Flow] = [:]
  }

  private let state = Mutex(State())
  private let stopped = Mutex(false)
  private let socket: PacketSocket

  /// Begins to count on the client's interface.
  public init(on client: LabClient) async throws {
    socket = try await client.namespace.perform {
      let index = try RouteNetlink().index(of: "eth0")
      return try PacketSocket.open(
        onInterface: index, mode: .learning(snapLength: 160), receiveBuffer: 4 << 20)
    }
    Task { try await self.watch() }
  }

  /// What was seen until now of the probes that were sent between two moments; without them, of all.
  public func count(
    since start: ContinuousClock.Instant? = nil, until end: ContinuousClock.Instant? = nil
  ) -> Count {
    func isMeant(_ probe: Probe) -> Bool {
      (start.map { probe.at >= $0 } ?? true) && (end.map { probe.at < $0 } ?? true)
    }
    return state.withLock { state in
      var count = Count()
      for probe in state.probes where isMeant(probe) {
        count.sent += 1
        if probe.isAnswered { count.answered += 1 }
      }
      for flow in state.flows.values {
        if let open = flow.openProbe, isMeant(state.probes[open]) { count.open += 1 }
      }
      return count
    }
  }

  /// The probes that will not be answered any more.
  public func misses() -> [Miss] {
    state.withLock { state in
      let open = Set(state.flows.values.compactMap(\.openProbe))
      return state.probes.enumerated().filter {
        !$0.element.isAnswered && !open.contains($0.offset)
      }
      .map { Miss(at: $0.element.at, previous: $0.element.previous) }
    }
  }

  /// Stops counting.
  public func stop() { stopped.withLock { $0 = true } }

  private func watch() async throws {
    var buffer = [UInt8](repeating: 0, count: 256)
    while !stopped.withLock({ $0 }) {
      _ = try await ReadinessMonitor.shared.wait(
        untilReadable: socket.descriptor, timeout: .milliseconds(200))
      while let frame = try socket.receive(into: &buffer) {
        // "To the guest" is what leaves the interface.
        see(buffer[..<frame.capturedLength], isSent: frame.direction == .toGuest)
      }
    }
  }

  private func see(_ frame: ArraySlice<UInt8>, isSent: Bool) {
    guard let segment = ObservedSegment(frame) else { return }
    state.withLock { state in
      let key = isSent ? segment.flow : segment.flow.reversed
      var flow = state.flows[key] ?? Flow()
      if isSent {
        if segment.isPlain, segment.payloadLength <= 1, let acknowledged = flow.acknowledged,
          segment.sequence == acknowledged &- 1
        {
          let previous = flow.lastProbe.map { state.probes[$0].at }
          flow.openProbe = state.probes.count
          flow.lastProbe = state.probes.count
          state.probes.append(Probe(at: .now, previous: previous, sequence: segment.sequence))
        }
      } else if segment.hasAcknowledgement {
        if let open = flow.openProbe,
          segment.acknowledgement == state.probes[open].sequence &+ 1
        {
          state.probes[open].isAnswered = true
          flow.openProbe = nil
        }
        flow.acknowledged = segment.acknowledgement
      }
      state.flows[key] = flow
    }
  }
}
