import Glibc
import LinuxMemory
import LinuxSystem
import Synchronization

/// Memory of this process that lies in swap for no other purpose than to fill it.
public final class SwapHog: Sendable {
  private static let portion = 16 << 20
  private let portions = Mutex<[UInt]>([])

  public init() {}

  /// Fills swap until no more than so much is free, or it takes no more.
  ///
  /// - Returns: what is free then, in bytes.
  @discardableResult
  public func fill(leavingFree limit: UInt64) async throws -> UInt64 {
    try await onBlockingThread("swap hog") { [self] in
      var free = try SwapStatus.current().freeBytes
      var fruitless = 0
      while free > limit, fruitless < 20 {
        // Down to what is left, so that the limit is met to the page.
        let size = min(Self.portion, Int(free - limit) + 4_095 & ~4_095)
        let memory = mmap(
          nil, Self.portion, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else {
          try checked("get memory to fill swap with", -1)
          break
        }
        portions.withLock { $0.append(UInt(bitPattern: memory)) }
        // Not zeros, which the kernel need not write anywhere.
        memset(memory, 0xa5, size)
        try checked("page out memory to fill swap with", madvise(memory, size, MADV_PAGEOUT))
        let left = try SwapStatus.current().freeBytes
        // Others may free some meanwhile, and that is no sign that it takes no more.
        fruitless = left < free ? 0 : fruitless + 1
        free = left
      }
      return free
    }
  }

  /// Gives all of it back.
  public func release() {
    let all = portions.withLock { portions in
      defer { portions = [] }
      return portions
    }
    for address in all { munmap(UnsafeMutableRawPointer(bitPattern: address), Self.portion) }
  }

  deinit { release() }
}
