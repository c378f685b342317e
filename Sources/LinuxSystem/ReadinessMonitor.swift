import CLinux
import Synchronization
import SystemPackage

/// Waits for descriptors on behalf of tasks: one epoll(7) thread for the whole process, started at the
/// first wait. Made for pidfds and control sockets, that is for tens of waits per second.
public final class ReadinessMonitor: Sendable {
  /// The process's monitor. It lives as long as the process does.
  public static let shared = ReadinessMonitor()

  private struct Waiter {
    let continuation: CheckedContinuation<Bool, any Error>
    /// A duplicate, owned by the monitor: several tasks may wait for the same descriptor, and closing the
    /// original under a wait cannot make the wait watch somebody else's file.
    let duplicate: CInt
    let deadline: UInt64?
  }

  private struct Descriptors {
    let epoll: CInt
    let timer: CInt
  }

  private struct State {
    var descriptors: Descriptors?
    var lastToken: UInt64 = 0
    var waiters: [UInt64: Waiter] = [:]
  }

  /// The timer's token; waiters count from 1.
  private static let timerToken: UInt64 = 0

  private let state = Mutex(State())

  private init() {}

  /// Waits until the descriptor is readable or hung up (for a pidfd: until the process has ended).
  ///
  /// The wait holds a duplicate of the descriptor; a peer sees a close only after the wait is over.
  ///
  /// - Parameter timeout: nil waits for ever; zero or less only looks.
  /// - Returns: false when the time is over.
  /// - Throws: ``LinuxError`` when the descriptor cannot be waited for (a regular file, a closed one), or
  ///   `CancellationError`.
  public func wait(untilReadable descriptor: CInt, timeout: Duration?) async throws -> Bool {
    if let timeout, timeout <= .zero {
      return try checked("poll", dormouse_poll_readable(descriptor, 0)) == 1
    }
    let deadline = timeout.map { timeout in
      let (sum, overflow) = MonotonicClock.nowNanoseconds()
        .addingReportingOverflow(timeout.clampedNanoseconds)
      // Beyond what a timerfd can hold: as good as no deadline.
      return overflow || sum > UInt64(Int64.max) ? UInt64(Int64.max) : sum
    }
    let token = state.withLock { state in
      state.lastToken += 1
      return state.lastToken
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        do {
          try add(token, descriptor, deadline, continuation)
        } catch {
          continuation.resume(throwing: error)
          return
        }
        // A cancellation that came before the waiter was in place found nothing to end.
        if Task.isCancelled { finish(token, .failure(CancellationError())) }
      }
    } onCancel: {
      finish(token, .failure(CancellationError()))
    }
  }

  private func add(
    _ token: UInt64, _ descriptor: CInt, _ deadline: UInt64?,
    _ continuation: CheckedContinuation<Bool, any Error>
  ) throws(LinuxError) {
    try state.withLock { state throws(LinuxError) in
      let descriptors: Descriptors
      if let running = state.descriptors {
        descriptors = running
      } else {
        descriptors = try start()
        state.descriptors = descriptors
      }
      let duplicate = OwnedFileDescriptor(
        owning: try checked("wait for descriptor \(descriptor)", dormouse_dup_cloexec(descriptor)))
      try checked(
        "wait for descriptor \(descriptor)",
        dormouse_epoll_add_readable(descriptors.epoll, duplicate.rawValue, token))
      state.waiters[token] = Waiter(
        continuation: continuation, duplicate: duplicate.release(), deadline: deadline)
      if deadline != nil { setTimer(state) }
    }
  }

  /// Ends a wait, unless it has ended already.
  private func finish(_ token: UInt64, _ result: Result<Bool, any Error>) {
    let waiter = state.withLock { state in remove(token, from: &state) }
    waiter?.continuation.resume(with: result)
  }

  private func remove(_ token: UInt64, from state: inout State) -> Waiter? {
    guard let waiter = state.waiters.removeValue(forKey: token) else { return nil }
    if let descriptors = state.descriptors {
      _ = dormouse_epoll_remove(descriptors.epoll, waiter.duplicate)
    }
    _ = dormouse_close(waiter.duplicate)
    return waiter
  }

  private func setTimer(_ state: State) {
    guard let descriptors = state.descriptors else { return }
    _ = dormouse_timer_set(
      descriptors.timer, state.waiters.values.compactMap(\.deadline).min() ?? 0)
  }

  // MARK: - The thread

  private func start() throws(LinuxError) -> Descriptors {
    let epoll = OwnedFileDescriptor(owning: try checked("epoll_create1", dormouse_epoll_create()))
    let timer = OwnedFileDescriptor(owning: try checked("timerfd_create", dormouse_timer_create()))
    try checked(
      "epoll_ctl", dormouse_epoll_add_readable(epoll.rawValue, timer.rawValue, Self.timerToken))
    let descriptors = Descriptors(epoll: epoll.rawValue, timer: timer.rawValue)
    let failure = dormouse_spawn_thread("readiness", { _ in ReadinessMonitor.shared.run() }, nil)
    guard failure == 0 else {
      throw LinuxError("start the readiness thread", Errno(rawValue: failure))
    }
    _ = epoll.release()
    _ = timer.release()
    return descriptors
  }

  private func run() {
    // The lock is held by whoever started this thread until the descriptors are in place.
    guard let descriptors = state.withLock(\.descriptors) else { return }
    var tokens = [UInt64](repeating: 0, count: 64)
    while true {
      let count = dormouse_epoll_wait(descriptors.epoll, &tokens, CInt(tokens.count), -1)
      for token in tokens.prefix(Int(max(count, 0))) where token != Self.timerToken {
        finish(token, .success(true))
      }
      expire()
    }
  }

  private func expire() {
    let expired = state.withLock { state in
      let now = MonotonicClock.nowNanoseconds()
      let tokens = state.waiters.filter { ($0.value.deadline ?? .max) <= now }.keys
      let waiters = tokens.compactMap { remove($0, from: &state) }
      // Setting the timer anew also takes back its readiness.
      setTimer(state)
      return waiters
    }
    for waiter in expired { waiter.continuation.resume(returning: false) }
  }
}
