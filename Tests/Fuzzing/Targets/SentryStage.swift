import Frames
import Seamless

/// A guest that is awake or asleep, its sentry, and the witness between them.
struct SentryStage: ~Copyable {
  static let capacity = 64
  private static let second: UInt64 = 1_000_000_000

  /// How far the template connection of a family has come, by what was said last.
  struct Connection {
    var guestSequence: UInt32 = 0xffff_fff8
    var guestAcknowledgement: UInt32 = 0xffff_fff8
    var timestamp: UInt32 = 0xffff_fff0
  }

  private let memory: UnsafeMutableRawBufferPointer
  private var table: CursorTable
  private var learner: Learner
  private var sentry: Sentry
  private var replies = FrameBuffer()
  private var witness: SentryWitness
  private(set) var isAsleep = false
  private var now: UInt64 = 1000 * second
  var connections = [Connection(), Connection()]
  /// What the guest's agent will tell when it is next put to sleep; nil for nothing.
  var ports: UsedPorts?
  var rules: [RuleSketch] = [] {
    didSet { applyRules() }
  }

  init() throws {
    memory = .allocate(byteCount: CursorTable.byteCount(capacity: Self.capacity), alignment: 64)
    do {
      table = try CursorTable(
        formatting: memory, guest: MACAddress(wire: Station.guest.mac), seed: 42)
    } catch {
      memory.deallocate()
      throw error
    }
    learner = Learner(table: table, at: now)
    sentry = Sentry(table: table, mtu: 1500, at: now)
    witness = SentryWitness(at: now)
  }

  deinit {
    memory.deallocate()
  }

  mutating func wait(seconds: UInt64) {
    now += seconds * Self.second
  }

  /// Puts the guest to sleep if nothing forbids it, as the daemon does.
  mutating func fallAsleep() throws {
    guard !isAsleep else { return }
    let obstacles = learner.quiescence(at: now)
    try demand(obstacles.count <= 40, "\(obstacles.count) obstacles at once")
    guard obstacles.isEmpty else { return }
    // In the order of the sentry's process: of an earlier sleep nothing counts.
    table.forgetUsedPorts()
    if let ports { table.setUsedPorts(ports) }
    witness.refusals.used = ports
    ports = nil
    table.generation += 1
    sentry.beginSleep()
    isAsleep = true
  }

  mutating func wake() {
    isAsleep = false
  }

  /// A sentry dies; another goes on with what it left. Only the cursors survive; the daemon says the rules.
  mutating func replaceSentry() throws {
    table = try CursorTable(attaching: memory)
    learner = Learner(table: table, at: now)
    sentry = Sentry(table: table, mtu: 1500, at: now)
    witness.refusals.replaceSentry(at: now)
    applyRules()
  }

  /// The second half are the host's, which come after the machine's own.
  private mutating func applyRules() {
    let half = (rules.count + 1) / 2
    let table = RuleTable(
      own: rules.prefix(half).map(\.rule), host: rules.dropFirst(half).map(\.rule))
    sentry.rules = table
    learner.rules = table
    witness.refusals.rules = rules
  }

  /// The guest sends; asleep it cannot.
  mutating func send(fromGuest frame: [UInt8]) throws {
    guard !isAsleep else { return }
    witness.hear(fromGuest: frame)
    frame.withUnsafeBytes { _ = learner.observe($0, direction: .fromGuest, at: now) }
    try checkBounds()
  }

  /// Somebody sends to the guest, which its sentry answers or wakes it for. Returns whether it has answered.
  @discardableResult
  mutating func send(toGuest frame: [UInt8]) throws -> Bool {
    if isAsleep {
      replies.removeAll()
      let verdict = frame.withUnsafeBytes { sentry.verdict(for: $0, at: now, replies: &replies) }
      if case .answer(let count) = verdict {
        try demand(count == replies.count, "\(count) answers are named and \(replies.count) given")
        try witness.judge(
          (0..<replies.count).map { replies.withFrame($0) { [UInt8]($0) } }, to: frame, at: now)
        return true
      }
      try demand(replies.count == 0, "a frame is answered and has the verdict \(verdict)")
      guard case .wake(let reason, _) = verdict else { return false }
      if [.syn, .udp, .payload].contains(reason), let asked = WireFrame(frame) {
        try witness.refusals.judge(wakeFor: asked)
      }
      isAsleep = false
    }
    witness.hear(toGuest: frame)
    frame.withUnsafeBytes { _ = learner.observe($0, direction: .toGuest, at: now) }
    try checkBounds()
    return false
  }

  private func checkBounds() throws {
    try demand(table.flowCount <= Self.capacity, "too many flows")
    let addresses = table.addresses
    try demand(addresses.count <= 32, "too many addresses")
    try demand(addresses.allSatisfy { $0.address.canBeOwned }, "an address that nobody can own")
    try demand(
      table.ipv4Groups.count <= 32 && table.ipv6Groups.count <= 48, "too many groups are reported")
  }
}

extension MACAddress {
  init(wire bytes: [UInt8]) {
    self.init(rawValue: bytes.reduce(0) { $0 << 8 | UInt64($1) })
  }
}
