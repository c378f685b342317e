import LinuxMemory
import LinuxSystem
import SuspendToSwap

/// The rest of a VM's RAM, after what its wakes use.
extension Machine {
  /// Brings it back bit by bit, if that is the VM's setting, until all of it is there, the task is cancelled,
  /// or the host is short of memory. A failure costs nothing: what is not there comes by faults.
  func swapInRest(_ place: GuestMemory.Place, _ running: RunningMachine) async {
    var position: UInt64? = 0
    var readBytes: UInt64 = 0
    var earliest = ContinuousClock.now
    do {
      while let start = position, record.swapIn == .background {
        let turn = await context.swapIns.turn(for: SwapIn.portionBytes)
        try await Task.sleep(until: max(turn, earliest), clock: .continuous)
        let began = ContinuousClock.now
        let portion = try await onBlockingThread("swap-in") { () -> SwapIn.Portion? in
          guard SwapIn.isAffordable(try MemoryInformation.current()) else { return nil }
          return try SwapIn.portion(place, from: start, of: running.process)
        }
        guard let portion else {
          logger.notice("the host is short of memory: the rest of the VM's stays in swap")
          break
        }
        readBytes += portion.readBytes
        position = portion.next
        // Half of a slow disk's time is for others.
        earliest = .now + (.now - began)
      }
    } catch is CancellationError {
      // It falls asleep again, or has ended.
    } catch {
      logger.debug("swap-in ended", metadata: ["reason": "\(error)"])
    }
    logger.info("swapped in in the background", metadata: ["bytes": "\(readBytes)"])
  }
}
