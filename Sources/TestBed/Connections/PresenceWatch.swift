import LinuxNetwork
import LinuxSystem
import Synchronization

/// Sees, in the host, who speaks for a virtual machine: its guest or the sentry. One packet socket sees all
/// interfaces, so that the order of what is seen is the order of what happened.
///
/// What the sentry writes enters by the detour tap and then, redirected, by the machine's own; what QEMU
/// writes enters by the latter only.
public final class PresenceWatch: Sendable {
  /// Who sent a frame with the machine's hardware address.
  public enum Speaker: Sendable, Hashable {
    case guest
    case sentry
    /// It came in from elsewhere: an impostor.
    case stranger
  }

  /// A frame with the machine's hardware address as its source.
  public struct Sighting: Sendable {
    public let speaker: Speaker
    /// The frame's beginning, at most 256 bytes.
    public let frame: [UInt8]
    /// The whole frame's length in bytes.
    public let length: Int
  }

  private struct State {
    var sightings: [Sighting] = []
    /// Written by the sentry, and not seen at the machine's tap yet.
    var underWay: [[UInt8]] = []
    var lost = 0
    var buffer = [UInt8](repeating: 0, count: 512)
  }

  private let state = Mutex(State())
  private let stopped = Mutex(false)
  private let socket: PacketSocket
  private let macAddress: [UInt8]
  private let machineTap: CInt
  private let detourTaps: Set<CInt>
  private let bridge: CInt

  /// Begins to watch a machine that runs. To judge its connections, the watch must begin before them.
  ///
  /// - Parameter tap: the machine's, as the daemon names it.
  public init(on network: LabNetwork, tap: String, of guest: Guest) async throws {
    let bridge = network.bridge
    let links = try await network.host.perform { try RouteNetlink().links() }
    guard let machineTap = links.first(where: { $0.name == tap })?.index,
      let bridge = links.first(where: { $0.name == bridge })?.index
    else { throw TestBedError(code: .malformed, message: "\(guest.name) is at no bridge") }
    self.machineTap = machineTap
    self.bridge = bridge
    // Those of all machines: the hardware address tells whose a frame is.
    detourTaps = Set(links.filter { $0.name.hasPrefix("dmd") }.map(\.index))
    macAddress = guest.addresses.macAddress.split(separator: ":").compactMap {
      UInt8($0, radix: 16)
    }
    socket = try await network.host.perform {
      try PacketSocket.open(
        onInterface: 0, mode: .learning(snapLength: 256), receiveBuffer: 16 << 20)
    }
    Task { try await self.watch() }
  }

  /// The number of frames of the machine's that were sent until now.
  public func mark() throws -> Int {
    try state.withLock { state in
      try drain(&state)
      return state.sightings.count
    }
  }

  /// The frames since a mark, up to now.
  public func sightings(after mark: Int = 0) throws -> [Sighting] {
    try state.withLock { state in
      try drain(&state)
      guard state.lost == 0 else {
        throw TestBedError(
          code: .malformed, message: "\(state.lost) frames were not seen, so nothing is certain")
      }
      return Array(state.sightings.dropFirst(mark))
    }
  }

  /// What the sentry should not have said, up to now; one sentence each. It may only restate what the
  /// guest has said.
  public func violations() throws -> [String] {
    var audit = SentryAudit()
    for sighting in try sightings() { audit.take(sighting) }
    return audit.violations
  }

  /// Stops watching.
  public func stop() { stopped.withLock { $0 = true } }

  private func watch() async throws {
    while !stopped.withLock({ $0 }) {
      _ = try await ReadinessMonitor.shared.wait(
        untilReadable: socket.descriptor, timeout: .milliseconds(200))
      try state.withLock { try drain(&$0) }
    }
  }

  private func drain(_ state: inout State) throws {
    while let seen = try socket.receive(into: &state.buffer) {
      guard seen.direction == .fromGuest, seen.interface != bridge, seen.capturedLength >= 14,
        state.buffer[6..<12].elementsEqual(macAddress)
      else { continue }
      let frame = Array(state.buffer[..<seen.capturedLength])
      var speaker = Speaker.guest
      switch seen.interface {
      case _ where detourTaps.contains(seen.interface):
        state.underWay.append(frame)
        continue
      case machineTap:
        if let index = state.underWay.firstIndex(of: frame) {
          state.underWay.remove(at: index)
          speaker = .sentry
        }
      default:
        speaker = .stranger
      }
      state.sightings.append(
        Sighting(speaker: speaker, frame: frame, length: seen.originalLength))
    }
    state.lost += try socket.statistics().dropped
  }
}

/// Compares what the sentry says of TCP connections with what the guest said of them before.
private struct SentryAudit {
  private struct Flow {
    var end: UInt32
    var acknowledgement: UInt32
    var window: UInt16
    var timestamp: UInt32?
  }

  private var flows: [ObservedFlow: Flow] = [:]
  private(set) var violations: [String] = []

  mutating func take(_ sighting: PresenceWatch.Sighting) {
    if sighting.speaker == .stranger {
      violations.append("a frame with the machine's hardware address came in from elsewhere")
    }
    guard let segment = ObservedSegment(sighting.frame[...]) else { return }
    if sighting.speaker == .sentry {
      judge(segment)
    } else {
      learn(segment)
    }
  }

  private mutating func learn(_ segment: ObservedSegment) {
    guard !segment.isReset else {
      flows[segment.flow] = nil
      return
    }
    guard !segment.isSynchronize, var flow = flows[segment.flow] else {
      flows[segment.flow] = Flow(
        end: segment.end, acknowledgement: segment.acknowledgement, window: segment.window,
        timestamp: segment.timestamp)
      return
    }
    if Int32(bitPattern: segment.end &- flow.end) > 0 { flow.end = segment.end }
    if Int32(bitPattern: segment.acknowledgement &- flow.acknowledgement) >= 0 {
      flow.acknowledgement = segment.acknowledgement
      flow.window = segment.window
    }
    if let timestamp = segment.timestamp { flow.timestamp = timestamp }
    flows[segment.flow] = flow
  }

  private mutating func judge(_ segment: ObservedSegment) {
    guard let flow = flows[segment.flow] else {
      violations.append("the sentry speaks of a connection that the guest has not spoken of")
      return
    }
    let faults: [(Bool, String)] = [
      (!segment.isPlain || segment.payloadLength != 0, "more than an acknowledgement"),
      (segment.sequence != flow.end, "SEQ \(segment.sequence), the guest's is \(flow.end)"),
      (
        segment.acknowledgement != flow.acknowledgement,
        "ACK \(segment.acknowledgement), the guest's is \(flow.acknowledgement)"
      ),
      (segment.window != flow.window, "window \(segment.window), the guest's is \(flow.window)"),
      (
        segment.timestamp != flow.timestamp,
        "TSval \(segment.timestamp ?? 0), the guest's is \(flow.timestamp ?? 0)"
      ),
      (segment.isChecksumRight != true, "a wrong checksum"),
    ]
    for (isFault, text) in faults where isFault {
      violations.append("the sentry said \(text)")
    }
  }
}
