import FoundationEssentials
import LinuxMemory
import LinuxSystem
import SuspendToSwap

/// What a wake uses: reading it ahead, and finding out what it is.
extension Machine {
  /// One sleep in so many leaves nothing of QEMU's own in memory: only of what left can be told whether it
  /// is used.
  private static let keepsNothingEvery = 16
  /// Part of the host's available memory that a wake may fill ahead of its use.
  private static let affordableShare: UInt64 = 4

  /// Whether QEMU's first pages may stay in memory this time.
  var keepsFirstPages: Bool { memo.sleeps % Self.keepsNothingEvery != Self.keepsNothingEvery - 1 }

  /// The record of earlier wakes of this QEMU; empty when there is none that can be used.
  func readWakeRecord(of running: RunningMachine) async -> WakeRecord {
    let path = context.directory.machine(name).wakeRecord
    let process = running.runtime.process
    do {
      return try await onBlockingThread("record") { try WakeRecord.read(path, of: process) }
    } catch {
      logger.notice("beginning a new record of what wakes use", metadata: ["reason": "\(error)"])
      return .empty
    }
  }

  /// Gets ready for the next wake of a VM that sleeps. Without a plan it wakes all the same, by faults.
  func planWake(
    _ running: RunningMachine, record: WakeRecord, memory place: GuestMemory.Place
  ) async {
    do {
      wakePlan = try await onBlockingThread("plan") {
        try WakePlan(record: record, memory: place, of: running.process)
      }
    } catch {
      wakePlan = nil
      logger.warning("nothing will be read ahead", metadata: ["error": "\(error)"])
    }
  }

  /// As above for a VM that an earlier daemon has put to sleep.
  func planWake(_ running: RunningMachine) async {
    let memoryBytes = request.memoryBytes
    do {
      let place = try await onBlockingThread("plan") {
        try GuestMemory(of: running.process, expectedBytes: memoryBytes).place
      }
      await planWake(running, record: readWakeRecord(of: running), memory: place)
    } catch {
      logger.warning("nothing will be read ahead", metadata: ["error": "\(error)"])
    }
  }

  /// Starts what goes on beside a wake and after it. Nothing waits for it but the next sleep.
  func startWakeWork(_ running: RunningMachine) {
    endDeepening()
    guard let plan = wakePlan else { return }
    wakePlan = nil
    prefetchedBytes = 0
    let began = ContinuousClock.now
    wakeWork = Task {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await self.prefetch(plan, running) }
        group.addTask { await self.recordUse(plan, running, since: began) }
      }
      // Not before: the more there is in memory, the more neighbours the kernel maps along with what is used.
      if !Task.isCancelled { await swapInRest(plan.place, running) }
    }
  }

  /// Ends it. A page that this process maps meanwhile cannot be paged out.
  func endWakeWork() async {
    await deepening?.task.value
    deepening = nil
    wakeWork?.cancel()
    await wakeWork?.value
    wakeWork = nil
  }

  private func prefetch(_ plan: WakePlan, _ running: RunningMachine) async {
    do {
      // At once, however many others wake: the guest does not run before QEMU does.
      prefetchedBytes += try await onBlockingThread("prefetch") {
        try Prefetch.firstOwn(plan, of: running.process)
      }
      let affordable = try MemoryInformation.current().availableBytes / Self.affordableShare
      var done: UInt64 = 0
      while !Task.isCancelled, done < affordable {
        let before = done
        done = try await context.prefetches.turn {
          try await onBlockingThread("prefetch") {
            try Prefetch.guest(plan, from: before, of: running.process)
          }
        }
        prefetchedBytes += done - before
        if before == 0 {
          prefetchedBytes += try await onBlockingThread("prefetch") {
            try Prefetch.otherOwn(plan, of: running.process)
          }
        }
        if done == before { break }
      }
    } catch {
      logger.debug("prefetch ended", metadata: ["reason": "\(error)"])
    }
    // Too late for the report that is written as soon as the VM is awake.
    memo.lastWake?.prefetchedBytes = prefetchedBytes
    await saveHistory()
  }

  private func recordUse(
    _ plan: WakePlan, _ running: RunningMachine, since began: ContinuousClock.Instant
  ) async {
    var recorder = WakeRecorder(plan: plan, of: running.process)
    do {
      // A look at a large VM takes a while; the looks to come are put off then, not crowded.
      var earliest = began
      for period in WakeRecord.periods {
        try await Task.sleep(until: max(began + period, earliest), clock: .continuous)
        let started = ContinuousClock.now
        let earlier = recorder
        recorder = try await onBlockingThread("record") {
          var recorder = earlier
          try recorder.endPeriod()
          return recorder
        }
        earliest = .now + (.now - started) * 10
      }
    } catch is CancellationError {
      // It falls asleep again: what is known so far counts.
    } catch {
      logger.debug("cannot see what the wake uses", metadata: ["reason": "\(error)"])
      return
    }
    let path = context.directory.machine(name).wakeRecord
    let complete = recorder
    do {
      try await onBlockingThread("record") {
        let bytes = complete.record.encoded(for: running.runtime.process)
        try Data(bytes).write(to: URL(filePath: path), options: .atomic)
      }
    } catch {
      logger.warning("cannot keep what the wake used", metadata: ["error": "\(error)"])
    }
  }
}
