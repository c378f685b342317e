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

  private struct Probe {
    let at: ContinuousClock.Instant
    let sequence: UInt32
    var isAnswered = false
  }

  private struct Flow {
    var acknowledged: UInt32?
    /// The index of the probe that waits for its answer.
    var openProbe: Int?
  }

  private struct State {
    var probes: [Probe] = []
    var flows: [FlowKey: Flow] = [:]
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

  /// What was seen until now of the probes that were sent since a moment; of all, without one.
  public func count(since start: ContinuousClock.Instant? = nil) -> Count {
    state.withLock { state in
      var count = Count()
      for probe in state.probes where start.map({ probe.at >= $0 }) ?? true {
        count.sent += 1
        if probe.isAnswered { count.answered += 1 }
      }
      for flow in state.flows.values {
        guard let open = flow.openProbe else { continue }
        if start.map({ state.probes[open].at >= $0 }) ?? true { count.open += 1 }
      }
      return count
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
          flow.openProbe = state.probes.count
          state.probes.append(Probe(at: .now, sequence: segment.sequence))
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

/// The addresses and ports of one direction of a connection.
private struct FlowKey: Hashable {
  var source: [UInt8]
  var destination: [UInt8]

  var reversed: FlowKey { FlowKey(source: destination, destination: source) }
}

/// What the counter needs of a TCP segment. Deliberately not the product's parser, whose work it checks.
private struct ObservedSegment {
  let flow: FlowKey
  let sequence: UInt32
  let acknowledgement: UInt32
  let hasAcknowledgement: Bool
  /// No SYN, FIN or RST.
  let isPlain: Bool
  let payloadLength: Int

  init?(_ frame: ArraySlice<UInt8>) {
    let bytes = Array(frame)
    guard bytes.count >= 14 else { return nil }
    let tcp: Int
    let addresses: (source: Range<Int>, destination: Range<Int>)
    let segmentLength: Int
    switch (bytes[12], bytes[13]) {
    case (0x08, 0x00):
      guard bytes.count >= 34, bytes[23] == 6 else { return nil }
      let headerLength = Int(bytes[14] & 0x0f) * 4
      tcp = 14 + headerLength
      addresses = (26..<30, 30..<34)
      segmentLength = (Int(bytes[16]) << 8 | Int(bytes[17])) - headerLength
    case (0x86, 0xdd):
      guard bytes.count >= 54, bytes[20] == 6 else { return nil }
      tcp = 54
      addresses = (22..<38, 38..<54)
      segmentLength = Int(bytes[18]) << 8 | Int(bytes[19])
    default: return nil
    }
    guard bytes.count >= tcp + 20 else { return nil }
    func number(at offset: Int) -> UInt32 {
      var value: UInt32 = 0
      for byte in bytes[tcp + offset..<tcp + offset + 4] { value = value << 8 | UInt32(byte) }
      return value
    }
    let ports = (source: tcp..<(tcp + 2), destination: (tcp + 2)..<(tcp + 4))
    flow = FlowKey(
      source: Array(bytes[addresses.source]) + Array(bytes[ports.source]),
      destination: Array(bytes[addresses.destination]) + Array(bytes[ports.destination]))
    sequence = number(at: 4)
    acknowledgement = number(at: 8)
    let flags = bytes[tcp + 13]
    hasAcknowledgement = flags & 0x10 != 0
    isPlain = flags & 0x07 == 0 && hasAcknowledgement
    payloadLength = segmentLength - Int(bytes[tcp + 12] >> 4) * 4
  }
}
