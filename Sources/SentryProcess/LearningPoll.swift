import LinuxSystem

/// The learning sockets of all VMs, watched together: while traffic is dense they are read every few
/// milliseconds, not at every frame. To be woken costs more than to learn, and it costs the processor on
/// which the guest would answer. Nobody waits for what is learned: before a VM sleeps its socket is read
/// empty.
package struct LearningPoll: ~Copyable {
  /// How long the sockets are left alone once frames follow each other faster than this.
  package static let restMilliseconds: CInt = 2
  private static let rest = UInt64(restMilliseconds) * 1_000_000

  package var sockets: EventPoll
  /// When there was last something to read, or the last rest was to end.
  private var lastReady: UInt64 = 0
  private var restsUntil: UInt64?

  package init() throws(LinuxError) { sockets = try EventPoll() }

  package var isResting: Bool { restsUntil != nil }

  package func hasRested(at now: UInt64) -> Bool { restsUntil.map { now >= $0 } ?? false }

  /// Has the server woken for the sockets, as it is until traffic is dense.
  package mutating func resume(in poll: borrowing EventPoll, key: UInt64) throws(LinuxError) {
    restsUntil = nil
    try poll.add(sockets.descriptor, key: key)
  }

  /// The keys of sockets that have something to read; begins a rest if that comes soon after the last time.
  package mutating func ready(in poll: borrowing EventPoll, at now: UInt64) -> ArraySlice<UInt64> {
    if now < lastReady + Self.rest, !isResting {
      poll.remove(sockets.descriptor)
      restsUntil = now + Self.rest
    }
    lastReady = restsUntil ?? now
    // What cannot be waited for now is ready still the next time.
    return (try? sockets.wait(milliseconds: 0)) ?? []
  }
}
