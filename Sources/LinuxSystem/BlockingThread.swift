import CLinux
import Synchronization

/// Runs blocking work on a thread of its own, so that no thread of the cooperative pool ever waits in
/// the kernel.
///
/// The thread lives for one call. Blocking calls here are rare (page-outs, image inspection, a swap-in),
/// and a thread costs some ten microseconds; a pool would have to be sized for its slowest user.
public func onBlockingThread<Value: Sendable>(
  _ name: String = "blocking", _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    let work = ThreadBody { continuation.resume(with: Result(catching: body)) }
    let context = Unmanaged.passRetained(work).toOpaque()
    let failure = dormouse_spawn_thread(
      name,
      { context in
        guard let context else { return }
        Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue().run()
      }, context)
    if failure != 0 {
      Unmanaged<ThreadBody>.fromOpaque(context).release()
      // No thread is to be had: the caller's thread waits instead, which is slow but not wrong.
      continuation.resume(with: Result(catching: body))
    }
  }
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
