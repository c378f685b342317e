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
  private var witness = SentryWitness()
  private(set) var isAsleep = false
  private var now: UInt64 = 1000 * second
  var connections = [Connection(), Connection()]

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
    sentry.beginSleep()
    isAsleep = true
  }

  mutating func wake() {
    isAsleep = false
  }

  /// A sentry dies; another goes on with what it left. Only the cursors survive.
  mutating func replaceSentry() throws {
    table = try CursorTable(attaching: memory)
    learner = Learner(table: table, at: now)
    sentry = Sentry(table: table, mtu: 1500, at: now)
  }

  /// The guest sends; asleep it cannot.
  mutating func send(fromGuest frame: [UInt8]) throws {
    guard !isAsleep else { return }
    witness.hear(fromGuest: frame)
    frame.withUnsafeBytes { _ = learner.observe($0, direction: .fromGuest, at: now) }
    try checkBounds()
  }

  /// Somebody sends to the guest, which its sentry answers or wakes it for.
  mutating func send(toGuest frame: [UInt8]) throws {
    if isAsleep {
      replies.removeAll()
      let verdict = frame.withUnsafeBytes { sentry.verdict(for: $0, at: now, replies: &replies) }
      if case .answer(let count) = verdict {
        try demand(count == replies.count, "\(count) answers are named and \(replies.count) given")
        try witness.judge(
          (0..<replies.count).map { replies.withFrame($0) { [UInt8]($0) } }, to: frame)
        return
      }
      try demand(replies.count == 0, "a frame is answered and has the verdict \(verdict)")
      guard case .wake = verdict else { return }
      isAsleep = false
    }
    frame.withUnsafeBytes { _ = learner.observe($0, direction: .toGuest, at: now) }
    try checkBounds()
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
