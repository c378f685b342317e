import Frames
import Glibc
import LinuxNetwork
import LinuxSystem
import Seamless

/// A machine in the sentry's care, with everything that the sentry holds of it.
///
/// Lives on the sentry's one thread.
final class Ward {
  let machine: GuardedMachine
  var monitor: MonitorChannel
  let detourTap: OwnedFileDescriptor
  let injector: PacketSocket
  /// Sees what passes the VM's tap in both directions.
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
  var framesThisSecond = 0
  /// Looking away until then; nil while looking.
  var lookingAwayUntil: UInt64?

  var answered = 0
  private var replies = FrameBuffer()

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
    detourTap: consuming OwnedFileDescriptor, injector: consuming PacketSocket,
    tapWatch: consuming PacketSocket, cursors: CursorMemory
  ) {
    let now = MonotonicClock.nowNanoseconds()
    sentry = Sentry(table: cursors.table, mtu: machine.mtu, at: now)
    learner = Learner(table: cursors.table, at: now)
    self.machine = machine
    self.monitor = monitor
    self.detourTap = detourTap
    self.injector = injector
    self.tapWatch = tapWatch
    self.cursors = cursors
    phase = machine.asleep ? .answering(HoldQueue()) : .learning
  }

  var publicPhase: GuardPhase {
    switch phase {
    case .learning: .learning
    case .holding: .holding
    case .answering: .answering
    case .waking: .waking
    }
  }

  /// Gives the guest a frame past the detour. A full queue loses it, as on any network.
  func inject(_ frame: UnsafeRawBufferPointer) {
    learner.observe(frame, direction: .toGuest, at: MonotonicClock.nowNanoseconds())
    try? injector.send(frame)
  }

  /// Decides about a frame that the detour delivered while the VM sleeps, and sends the answers.
  func judge(_ frame: UnsafeRawBufferPointer, at now: UInt64) -> Verdict {
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
    framesThisSecond += count
    return count
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
