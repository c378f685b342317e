import Synchronization

/// Keeps one string for later.
final class Held: Sendable {
  private let held = Mutex<String?>(nil)

  /// Takes out what is there, or puts this in.
  func exchange(_ string: String) -> String? {
    held.withLock { held in
      if let earlier = held {
        held = nil
        return earlier
      }
      held = string
      return nil
    }
  }
}
