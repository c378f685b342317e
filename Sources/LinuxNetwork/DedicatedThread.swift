import CLinux
import LinuxSystem
import Synchronization
import SystemPackage

/// Runs a body on a thread that is made for it and ends with it. Unlike `onBlockingThread` it never
/// falls back to the caller's thread, since the body changes the thread that it runs on.
func onDedicatedThread<Value: ~Copyable & Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  let handover = Handover<Value>()
  try await withCheckedThrowingContinuation {
    (continuation: CheckedContinuation<Void, any Error>) in
    let work = Work {
      do {
        handover.put(try body())
        continuation.resume()
      } catch {
        continuation.resume(throwing: error)
      }
    }
    let context = Unmanaged.passRetained(work).toOpaque()
    let failure = dormouse_spawn_thread(
      "netns",
      { context in
        guard let context else { return }
        Unmanaged<Work>.fromOpaque(context).takeRetainedValue().run()
      }, context)
    if failure != 0 {
      Unmanaged<Work>.fromOpaque(context).release()
      continuation.resume(
        throwing: LinuxError("starting a thread", Errno(rawValue: failure)))
    }
  }
  guard let value = handover.take() else {
    preconditionFailure("a body that ended without an error has put its value")
  }
  return value
}

private final class Work: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Carries a value that cannot be copied from one thread to another, which a continuation cannot.
private final class Handover<Value: ~Copyable & Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)

  func put(_ new: consuming sending Value) {
    var new: Value? = new
    value.withLock { $0 = new.take() }
  }

  func take() -> sending Value? {
    value.withLock { $0.take() }
  }
}
