public import LinuxMemory

/// Whether swap can take a VM.
public enum SwapRoom {
  /// Kept free for the rest of the host, in bytes: a swap that is filled to the brim turns the next
  /// memory pressure into an out-of-memory kill.
  public static let reserveBytes: UInt64 = 32 << 20

  /// - Parameters:
  ///   - needed: resident bytes of the VM's RAM.
  ///   - swap: the host's swap at this moment.
  ///   - reserved: bytes promised to other VMs that are falling asleep right now.
  public static func check(
    needed: UInt64, swap: SwapStatus, reserved: UInt64 = 0
  ) throws(SuspendError) {
    guard swap.totalBytes > 0 else {
      throw SuspendError(
        .noSwap,
        "the host has no swap, so no VM can sleep; add a swap file, a partition or zram "
          + "(see dormouse doctor)")
    }
    let free = swap.freeBytes - min(swap.freeBytes, reserved + reserveBytes)
    guard free >= needed else {
      throw SuspendError(
        .swapShort,
        "swap has \(free >> 20) MiB to give and the VM needs \(needed >> 20) MiB; add swap "
          + "(see dormouse doctor)")
    }
  }
}
