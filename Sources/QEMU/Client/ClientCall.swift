import Synchronization

/// What a waiting caller shares with the event loop: the number of its command, and whether it gave up.
final class ClientCall: Sendable {
  let id: UInt64
  private let cancelled = Atomic<Bool>(false)

  init(id: UInt64) {
    self.id = id
  }

  /// Set before the event loop is told: whichever of "send" and "cancel" comes first there, the caller
  /// is answered once.
  var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

  func cancel() { cancelled.store(true, ordering: .releasing) }
}
