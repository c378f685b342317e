import QMP
import Synchronization

/// Those who want to hear of events, and of the end of the connection.
///
/// Under a lock, not on the event loop, so that a subscription holds from the moment it is made.
final class Subscribers: Sendable {
  /// Per subscriber. A monitor emits a handful of events in a machine's life; one that floods makes a
  /// subscriber lose the oldest, never grow.
  static let bufferedEvents = 256

  private struct State {
    var isFinished = false
    var nextKey: UInt64 = 0
    var events: [UInt64: AsyncStream<QMPEvent>.Continuation] = [:]
    var ends: [UInt64: AsyncStream<Never>.Continuation] = [:]
  }

  private let state = Mutex(State())

  func events() -> AsyncStream<QMPEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: QMPEvent.self, bufferingPolicy: .bufferingNewest(Subscribers.bufferedEvents))
    guard let key = add({ state, key in state.events[key] = continuation }) else {
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.events.removeValue(forKey: key) }
    }
    return stream
  }

  /// A stream that only ends.
  func end() -> AsyncStream<Never> {
    let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
    guard let key = add({ state, key in state.ends[key] = continuation }) else {
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.ends.removeValue(forKey: key) }
    }
    return stream
  }

  // Continuations are called outside the lock: finishing one calls its onTermination, which takes it.

  func publish(_ event: QMPEvent) {
    let continuations = state.withLock { Array($0.events.values) }
    for continuation in continuations { continuation.yield(event) }
  }

  func finish() {
    let last = state.withLock { state in
      state.isFinished = true
      return state
    }
    for continuation in last.events.values { continuation.finish() }
    for continuation in last.ends.values { continuation.finish() }
  }

  private func add(_ insert: (inout State, UInt64) -> Void) -> UInt64? {
    state.withLock { state in
      if state.isFinished { return nil }
      state.nextKey += 1
      insert(&state, state.nextKey)
      return state.nextKey
    }
  }
}
