import LinuxMemory
import SuspendToSwap

/// Swap promised to VMs that are falling asleep at this moment, so that two of them are not promised the
/// same room.
actor SwapReservations {
  private var promised: [String: UInt64] = [:]

  /// - Throws: `SuspendError` when swap lacks room.
  func reserve(_ bytes: UInt64, for name: String) throws {
    let others = promised.filter { $0.key != name }.values.reduce(0, +)
    try SwapRoom.check(needed: bytes, swap: try SwapStatus.current(), reserved: others)
    promised[name] = bytes
  }

  func release(_ name: String) {
    promised[name] = nil
  }
}
