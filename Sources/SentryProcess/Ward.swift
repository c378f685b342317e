import Frames
import Glibc
import LinuxNetwork
import LinuxSystem
import Seamless

/// A machine in the sentry's care, with everything that the sentry holds of it.
///
/// Lives on the sentry's one thread.
final class Ward {
  /// What a VM takes of the process's limit: the monitor, the detour tap, the learning socket.
  static let descriptors = 3

  let machine: GuardedMachine
  var monitor: MonitorChannel
  let detourTap: OwnedFileDescriptor
  /// Sees what passes the VM's tap in both directions; nothing while the VM sleeps, when that is only what
  /// the sentry says itself, and while the sentry looks away.
  let tapWatch: PacketSocket
  let cursors: CursorMemory
  var sentry: Sentry
  var learner: Learner
  var rules = RuleTable() {
    didSet {
      sentry.rules = rules
      learner.rules = rules
    }
  }
  var phase: Phase {
    didSet { cursors.table.phase = publicPhase }
  }

  /// Frames of the guest's that are observed per second before the sentry looks away: a VM that is this
  /// busy is not about to sleep, and must not pay for being watched.
  static let busyFramesPerSecond = 2000
  /// How long the sentry looks away from a busy VM, in nanoseconds.
  static let lookAway: UInt64 = 3_000_000_000
  var framesThisTick = 0
  /// Whether the next tick of the clock has something to do for the VM.
  var isOnWatchList = false
  /// Looking away until then; nil while looking.
  var lookingAwayUntil: UInt64?

  var answered = 0

  /// Where the machine stands, with what exists only there.
  enum Phase {
    case learning
    /// With the frames of use that had been seen when the holding began.
    case holding(HoldQueue, useBefore: UInt64)
    /// What is held here does not wake the VM, but is given to it when it wakes: FIN and RST.
    case answering(HoldQueue)
    case waking(Waking)
  }

  struct Waking {
    let hold: HoldQueue
    let cause: WakeCause
    let flow: String?
    /// On the monotonic clock, in nanoseconds, as all times here.
    let firstSeen: UInt64
    var continueSent: UInt64
    var continueID: UInt64
    /// When to ask QEMU again, should it not have answered by then.
    var retryAt: UInt64
    /// Orders of the daemon that wait for the outcome.
    var orders: [UInt64]
    var silenceReported = false
  }

  init(
    _ machine: GuardedMachine, monitor: consuming MonitorChannel,
    detourTap: consuming OwnedFileDescriptor, tapWatch: consuming PacketSocket,
    cursors: CursorMemory, room: HoldRoom
  ) {
    let now = MonotonicClock.nowNanoseconds()
    sentry = Sentry(table: cursors.table, mtu: machine.mtu, at: now)
    learner = Learner(table: cursors.table, at: now)
    self.machine = machine
    self.monitor = monitor
    self.detourTap = detourTap
    self.tapWatch = tapWatch
    self.cursors = cursors
    phase = machine.asleep ? .answering(HoldQueue(in: room)) : .learning
    if machine.asleep { deafen() }
  }

  var publicPhase: GuardPhase {
    switch phase {
    case .learning: .learning
    case .holding: .holding
    case .answering: .answering
    case .waking: .waking
    }
  }

  /// Decides about a frame that the detour delivered while the VM sleeps, and sends the answers.
  ///
  /// - Parameter replies: memory for them, which all VMs share.
  func judge(
    _ frame: UnsafeRawBufferPointer, at now: UInt64, replies: inout FrameBuffer
  ) -> Verdict {
    replies.removeAll()
    let verdict = sentry.verdict(for: frame, at: now, replies: &replies)
    for index in 0..<replies.count {
      replies.withFrame(index) { reply in
        _ = Glibc.write(detourTap.rawValue, reply.baseAddress, reply.count)
      }
    }
    if replies.count > 0 { answered += 1 }
    return verdict
  }

  /// Reads the frames that the learner has caught, at most `limit`; returns how many.
  ///
  /// - Parameter discard: whether they are looked at. What passed the tap while the VM slept was the
  ///   sentry's own.
  @discardableResult
  func learn(limit: Int, discard: Bool, buffer: inout [UInt8]) -> Int {
    var count = 0
    while count < limit {
      let received: PacketSocket.ReceivedFrame?
      do {
        received = try tapWatch.receive(into: &buffer)
      } catch {
        // The interface went down or the socket lost its place: what came in between is unknown.
        learner.invalidate(at: MonotonicClock.nowNanoseconds())
        break
      }
      guard let received else { break }
      count += 1
      guard !discard else { continue }
      buffer.withUnsafeBytes { bytes in
        _ = learner.observe(
          UnsafeRawBufferPointer(rebasing: bytes[0..<received.capturedLength]),
          wireLength: received.originalLength, strippedTag: received.vlanTag,
          direction: received.direction, at: MonotonicClock.nowNanoseconds())
      }
    }
    framesThisTick += count
    return count
  }

  /// From now on the learner's socket catches nothing, and costs the traffic nothing.
  func deafen() {
    // A socket that goes on catching is read and not believed: slower, not wrong.
    try? tapWatch.setSnapLength(0)
  }

  /// Ends ``deafen()``; what has been caught before is to be read first.
  func listen() {
    do {
      try tapWatch.setSnapLength(Learner.sufficientCapture)
    } catch {
      learner.invalidate(at: MonotonicClock.nowNanoseconds())
    }
  }

  /// As ``learn(limit:discard:buffer:)`` for all that waits: several times what the socket can hold, and
  /// not for ever should more come in than can be read.
  func drain(discard: Bool, buffer: inout [UInt8]) {
    learn(limit: 16_384, discard: discard, buffer: &buffer)
  }

  /// Frames that the learner's socket had no room for may have been the guest's: its cursors are void.
  func noticeLosses(at now: UInt64) {
    if let lost = try? tapWatch.statistics().dropped, lost > 0 { learner.invalidate(at: now) }
  }
}
