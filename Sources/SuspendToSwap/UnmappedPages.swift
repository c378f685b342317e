internal import LinuxMemory
import LinuxSystem

extension GuestMemory {
  /// Pages out what is in memory and mapped by nobody.
  ///
  /// `MADV_PAGEOUT` sees only pages that the advised process has mapped. A swapoff(8) while the VM slept
  /// has brought pages back that QEMU may never map again. Here they are mapped for the moment, and then
  /// they can be advised; what QEMU has mapped, too, is passed over.
  ///
  /// Needs Linux 5.14; before that the pages stay where they are.
  ///
  /// - Parameter shouldContinue: asked between portions of 64 MiB; when false, the rest is left.
  borrowing func pageOutUnmapped(shouldContinue: () -> Bool) throws {
    let portion: UInt64 = 64 << 20
    let ranges = try Residency.residentRanges(of: memory.rawValue, size: size)
    let mapping = try mapped()
    for range in ranges {
      for start in stride(from: range.lowerBound, to: range.upperBound, by: Int(portion)) {
        guard shouldContinue() else { return }
        let part = start..<min(start + portion, range.upperBound)
        // All of the range is in memory: nothing is read from swap for this.
        guard mapping.populate(part) else { return }
        try mapping.advise(.pageOut, part, to: "page out the VM's memory")
      }
    }
  }

  /// Makes ordinary pages of what was read ahead from swap and never asked for.
  ///
  /// Such pages are in the swap cache only, where no advice reaches them, and far from the end of the list
  /// that reclaim takes from: to get at them it would take QEMU's own memory first, and the next wake would
  /// wait for that. As ordinary pages they are paged out like all others.
  ///
  /// Needs Linux 5.14; before that they stay what they are.
  borrowing func adoptReadAhead() throws {
    let ranges = try Residency.mincoreRanges(of: memory.rawValue, size: size)
    // For this moment only: mapped twice, a page would be passed over when it is advised.
    let mapping = try mapped()
    for range in ranges {
      guard mapping.populate(range) else { return }
    }
  }
}
