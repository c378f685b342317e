import FoundationEssentials
import Glibc
import LinuxMemory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Seamless
import Synchronization

/// Thousands of guests behind one sentry.
///
/// Real: the sentry's process, two taps and the filters of the detour for each guest, bridges, the cursors,
/// and every frame. Emulated: QEMU (the lab answers `cont` and reads what is delivered to the guest's tap),
/// the guest, and the daemon.
public final class EmulatedGuestHost: Sendable {
  /// Ports of one bridge; the kernel allows 1023 (BR_MAX_PORTS).
  private static let portsPerBridge = 1000
  /// TCP connections of each guest.
  public static let flowsPerGuest = 3

  /// Guests that are made before the sentry gets them.
  private static let batch = 200

  private let lab: Lab
  private let isKeeping: Bool
  private let host: Namespace
  private let outside: Namespace
  private let client: EmulatedClient
  private let bridges: [CInt]
  private let monitors: EmulatedMonitors
  private struct State {
    var guests: [EmulatedGuest] = []
    var sentry: EmulatedSentry
  }
  private let state: Mutex<State>
  private let heartbeats = Mutex<Task<Void, any Error>?>(nil)

  /// Starts a sentry and makes bridges for as many guests; none is there yet.
  ///
  /// - Parameter isKeeping: whether another sentry may take the guests over. That takes three more
  ///   descriptors here for each, which is too much for thousands.
  public init(capacity: Int, isKeeping: Bool = true, in lab: Lab) async throws {
    try DescriptorLimit.raise()
    self.lab = lab
    self.isKeeping = isKeeping
    let number = Lab.nextNumber()
    let host = try await Namespace(named: "emulated\(number)")
    let outside = try await Namespace(named: "outside\(number)")
    self.host = host
    self.outside = outside
    let count = (capacity + Self.portsPerBridge - 1) / Self.portsPerBridge
    let descriptor = outside.descriptor
    bridges = try await host.perform {
      // The interfaces of this namespace are silent.
      try KernelFile.write("1", to: "/proc/sys/net/ipv6/conf/default/disable_ipv6")
      try Self.keepFramesFromIPTables()
      let netlink = try RouteNetlink()
      var bridges: [CInt] = []
      for number in 0..<count {
        try netlink.createBridge(
          named: "eb\(number)", multicastSnooping: false, ageing: .seconds(86_400))
        try netlink.createVethPair(
          named: "ev\(number)", peer: "c\(number)", peerNamespace: descriptor)
        let bridge = try netlink.index(of: "eb\(number)")
        let port = try netlink.index(of: "ev\(number)")
        try netlink.setMaster(port, master: bridge)
        try netlink.setUp(port, up: true)
        try netlink.setUp(bridge, up: true)
        bridges.append(bridge)
      }
      return bridges
    }
    client = try await outside.perform {
      let netlink = try RouteNetlink()
      let names = (0..<count).map { "c\($0)" }
      for name in names {
        try disableIPv6(onInterface: name)
        try netlink.setUp(try netlink.index(of: name), up: true)
      }
      return try EmulatedClient(interfaces: names)
    }
    // The bridges learn where the client is before there is anybody whom they would ask for it.
    for bridge in 0..<count {
      try client.send(EmulatedFrames(guest: 65_535).question, bridge: bridge)
    }
    let monitors = try EmulatedMonitors()
    self.monitors = monitors
    state = Mutex(State(sentry: try await EmulatedSentry(in: lab, on: host)))
    Task { try await onBlockingThread("monitors") { try monitors.run() } }
    heartbeats.withLock { task in
      task = Task { [weak self] in
        while !Task.isCancelled {
          try await Task.sleep(for: .seconds(SentryProtocol.heartbeatSeconds))
          guard let sentry = self?.sentry else { return }
          // One that has been killed does not answer.
          try? await onBlockingThread("heartbeat") { _ = try sentry.request(.heartbeat) }
        }
      }
    }
  }

  /// As docs/operating.md advises for hosts with thousands of VMs: with `br_netfilter` the kernel looks the
  /// interface of each bridged frame up in a table of 256 lists, which are long here.
  private static func keepFramesFromIPTables() throws {
    for family in ["iptables", "ip6tables", "arptables"] {
      let path = "/proc/sys/net/bridge/bridge-nf-call-\(family)"
      // There is none where the module is not loaded.
      if access(path, F_OK) == 0 { try KernelFile.write("0", to: path) }
    }
  }

  /// The sentry's process number.
  public var sentryPID: Int32 { state.withLock { $0.sentry.process.pid } }

  public var count: Int { state.withLock { $0.guests.count } }

  private var sentry: EmulatedSentry { state.withLock { $0.sentry } }

  private func guest(_ number: Int) -> EmulatedGuest { state.withLock { $0.guests[number] } }

  // MARK: - Guests

  /// Makes guests until there are so many, all asleep.
  public func grow(to count: Int) async throws {
    let bridges = bridges
    while self.count < count {
      let numbers = self.count..<min(self.count + Self.batch, count)
      let made = try await host.perform {
        let netlink = try RouteNetlink()
        return try numbers.map { number in
          let bridge = number / Self.portsPerBridge
          return try EmulatedGuest(
            number: number, bridge: bridge, master: bridges[bridge], flows: Self.flowsPerGuest,
            netlink)
        }
      }
      for guest in made { try monitors.add(guest) }
      state.withLock { $0.guests += made }
      try await entrust(made)
    }
  }

  private func entrust(_ guests: [EmulatedGuest]) async throws {
    let sentry = sentry
    let isKept = isKeeping
    try await host.perform {
      for guest in guests { try guest.entrust(to: sentry, isKept: isKept) }
    }
  }

  /// Puts guests that were woken back to sleep: the sentry gets them anew.
  public func putBackToSleep(_ numbers: [Int]) async throws {
    let guests = numbers.map { guest($0) }
    try await host.perform {
      let netlink = try RouteNetlink()
      for guest in guests { try guest.renew(netlink) }
    }
    try await entrust(guests)
  }

  /// Kills the sentry; nobody answers then.
  public func killSentry() async throws {
    try await sentry.kill()
  }

  /// Starts another sentry, which takes over all that sleep.
  public func replaceSentry() async throws {
    let new = try await EmulatedSentry(in: lab, on: host)
    state.withLock { $0.sentry = new }
    try await entrust(state.withLock { $0.guests })
  }

  /// The machines that the sentry says it has in its care, and how many messages that took at least.
  public func roster() async throws -> (names: Set<String>, isOneMessage: Bool) {
    let sentry = sentry
    let answer = try await host.perform {
      let injector = try PacketSocket.open(onInterface: 0, mode: .injecting)
      return try sentry.request(
        .hello(version: SentryProtocol.version), descriptors: [injector.descriptor])
    }
    guard case .welcome(_, let machines) = answer else {
      throw TestBedError(code: .malformed, message: "the sentry does not say what it guards")
    }
    let bytes = try JSONEncoder().encode(machines).count
    return (
      Set(machines.map(\.name)), bytes <= SentryProtocol.maximumMessageBytes
    )
  }

  // MARK: - Traffic

  /// A kind of request that the sentry answers by itself.
  public enum Request: String, CaseIterable, Sendable {
    case ping, arp, keepalive
  }

  /// What became of a number of requests.
  public struct Answers: Sendable {
    public let sent: Int
    public let answered: Int
    public let seconds: Double
    /// Processor time that the sentry took meanwhile.
    public let sentrySeconds: Double
  }

  /// Sends requests to random guests of a range and counts the answers.
  ///
  /// - Parameters:
  ///   - perSecond: at this rate; as fast as they are answered without one.
  ///   - processor: the client is confined to it.
  public func ask(
    _ kind: Request, _ count: Int, of guests: Range<Int>, window: Int = 256,
    perSecond: Double? = nil, onProcessor processor: Int? = nil
  ) async throws -> Answers {
    let all = state.withLock { Array($0.guests[guests]) }
    let client = client
    let before = try sentryTime()
    let outcome = try await onBlockingThread("client") {
      if let processor { try Processor.confine(thread: 0, to: processor) }
      // Built beforehand: it is the sentry's time that counts.
      let pool = (0..<min(count, 4096)).compactMap { index in
        all.randomElement().map { guest in
          switch kind {
          case .ping: (guest.bridge, guest.frames.ping(UInt16(truncatingIfNeeded: index)))
          case .arp: (guest.bridge, guest.frames.question)
          case .keepalive:
            (guest.bridge, guest.frames.keepalive(flow: index % Self.flowsPerGuest))
          }
        }
      }
      return try client.exchange(count, with: guests, window: window, perSecond: perSecond) {
        pool[$0 % pool.count]
      }
    }
    return Answers(
      sent: outcome.sent, answered: outcome.answered, seconds: outcome.seconds,
      sentrySeconds: (try sentryTime() - before).inSeconds)
  }

  /// Sends keepalives to one guest as fast as they can be sent, whatever becomes of them; returns how many.
  public func flood(_ number: Int, for time: Duration) async throws -> Int {
    let guest = guest(number)
    let client = client
    return try await onBlockingThread("flood") {
      let frame = guest.frames.keepalive(flow: 0)
      let end = ContinuousClock.now + time
      var count = 0
      while ContinuousClock.now < end {
        for _ in 0..<64 where try client.send(frame, bridge: guest.bridge) { count += 1 }
      }
      return count
    }
  }

  /// Sends payload in so many segments to a sleeping guest, evenly over a time.
  public func sendPayload(to number: Int, segments: Int, over time: Duration) async throws {
    let guest = guest(number)
    for index in 0..<segments {
      try client.send(guest.frames.payload(flow: 0, offset: index, [42]), bridge: guest.bridge)
      if index % 32 == 31 { try await Task.sleep(for: time * 32 / segments) }
    }
  }

  /// Wakes guests, all at the same time or one after the other, by payload on one of their connections.
  ///
  /// - Returns: for each guest the seconds from the sending to the frame's delivery into its tap; nil for
  ///   one that never got it.
  public func wake(_ numbers: [Int], atOnce: Bool) async throws -> [Double?] {
    _ = monitors.takeDelivered()
    var sent: [Int: UInt64] = [:]
    var delivered: [Int: UInt64] = [:]
    for number in numbers {
      let guest = guest(number)
      sent[number] = MonotonicClock.nowNanoseconds()
      try client.send(guest.frames.payload(flow: 1, [1, 2, 3, 4]), bridge: guest.bridge)
      guard !atOnce else { continue }
      try await eventually(
        "emulated guest \(number) to wake", within: .seconds(10), every: .milliseconds(1)
      ) {
        monitors.delivered(to: number) > 0 ? () : nil
      }
    }
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      for (number, frames) in monitors.takeDelivered() { delivered[number] = frames.first }
      if delivered.count == numbers.count { break }
      try await Task.sleep(for: .milliseconds(5))
    }
    return numbers.map { number in
      guard let start = sent[number], let end = delivered[number] else { return nil }
      return Double(end - start) / 1e9
    }
  }

  /// What the sentry has said about the wakes of a guest since the last call for any.
  public func wakes(of number: Int) throws -> [(heldFrames: Int, droppedFrames: Int)] {
    let name = guest(number).name
    return try sentry.notices().compactMap { notice in
      guard case .awake(name, let outcome) = notice else { return nil }
      return (outcome.heldFrames, outcome.droppedFrames)
    }
  }

  /// QEMUs answer nothing while the body runs.
  public func withSilentMonitors(_ body: () async throws -> Void) async throws {
    monitors.fallSilent()
    defer { monitors.answerAll() }
    try await body()
  }

  /// Frames that a guest was given since the last wake or call of ``wake(_:atOnce:)``.
  public func framesDelivered(to number: Int) -> Int { monitors.delivered(to: number) }

  // MARK: - Costs

  /// Processor time of the sentry's one thread since it began.
  public func sentryTime() throws -> Duration {
    let pid = sentryPID
    return try ProcessInspection.threadCPUTime(pid: pid, tid: pid)
  }

  /// The sentry's proportional set size, in bytes.
  public func sentryMemory() throws -> UInt64 {
    try ProcessMemory.proportionalSetBytes(pid: sentryPID)
  }

  /// Descriptors that the sentry has open.
  public func sentryDescriptors() throws -> Int {
    try KernelFile.names(in: "/proc/\(sentryPID)/fd").count
  }

  /// Confines the sentry to one processor.
  public func confineSentry(to processor: Int) throws {
    try Processor.confine(thread: sentryPID, to: processor)
  }

  /// Takes all of it away.
  public func remove() async throws {
    heartbeats.withLock { $0?.cancel() }
    monitors.stop()
    try await sentry.kill()
    state.withLock { $0.guests = [] }
    host.remove()
    outside.remove()
  }
}
