import CLinux

/// Readiness of many descriptors for one thread of its own (epoll(7), level-triggered). For tasks there is
/// ``ReadinessMonitor``.
///
/// It is itself a descriptor that is ready while one of its own is, so that one can be watched in another.
public struct EventPoll: ~Copyable {
  private let owned: OwnedFileDescriptor
  private var tokens = [UInt64](repeating: 0, count: 64)

  public init() throws(LinuxError) {
    owned = OwnedFileDescriptor(
      owning: try checked("make an epoll instance", dormouse_epoll_create()))
  }

  public var descriptor: CInt { owned.rawValue }

  /// Watches a descriptor until it is closed or removed: for input, and for its other end's going away.
  ///
  /// - Parameter key: what ``wait(milliseconds:)`` returns when there is something.
  public func add(_ watched: CInt, key: UInt64) throws(LinuxError) {
    try checked(
      "watch a descriptor", dormouse_epoll_add_readable(owned.rawValue, watched, key))
  }

  /// Watches a descriptor that was added for room to write as well, or no longer.
  public func watchForRoom(_ watched: CInt, key: UInt64, _ wanted: Bool) throws(LinuxError) {
    try checked(
      "watch a descriptor for room",
      dormouse_epoll_set_writable(owned.rawValue, watched, key, wanted ? 1 : 0))
  }

  /// Quietly ignores a descriptor that was never added.
  public func remove(_ watched: CInt) {
    _ = dormouse_epoll_remove(owned.rawValue, watched)
  }

  /// Waits at most that long; returns the keys of what is ready, each at most once.
  public mutating func wait(milliseconds: CInt) throws(LinuxError) -> ArraySlice<UInt64> {
    let count = try checked(
      "wait for descriptors",
      dormouse_epoll_wait(owned.rawValue, &tokens, CInt(tokens.count), milliseconds))
    return tokens.prefix(Int(count))
  }
}
