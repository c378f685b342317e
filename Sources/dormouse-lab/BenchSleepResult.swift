import TestBed

/// What the benchmark found, and whether that is good enough.
struct BenchSleepResult {
  let asleep: BenchPlace.Asleep
  let paused: Quantiles
  let saved: BenchPlace.Saved

  private let delays: Quantiles
  private let full: [BenchPlace.Round]

  init(asleep: BenchPlace.Asleep, paused: [Double], saved: BenchPlace.Saved) {
    self.asleep = asleep
    self.paused = Quantiles(paused)
    self.saved = saved
    delays = Quantiles(asleep.rounds.map(\.delay))
    full = asleep.rounds.filter(\.isFull)
  }

  // MARK: - Figures

  private var restore: Quantiles { Quantiles(saved.delays) }
  private var speedup: Double { restore.p50 / delays.p50 }

  /// By the daemon's own account, and by what the control group of QEMU has lost; of the sleeps for which
  /// all of the touched memory was in memory.
  private var reportedFraction: Quantiles {
    Quantiles(full.map { Double($0.sleep.releasedBytes) / Double($0.sleep.touchedBytes) })
  }
  private var groupFraction: Quantiles {
    Quantiles(full.map { Double($0.groupFall) / Double($0.sleep.touchedBytes) })
  }
  /// The lesser of the two counts.
  private var releasedFraction: Double { min(reportedFraction.p50, groupFraction.p50, 1) }
  private var availableFraction: Double {
    Quantiles(full.map { Double($0.availableGrowth) / Double($0.sleep.touchedBytes) }).p50
  }
  private var sleepingQEMUBytes: Quantiles {
    Quantiles(asleep.deep.map { Double($0.qemuBytes) })
  }
  private var pageTableBytes: Quantiles {
    Quantiles(asleep.deep.map { Double($0.pageTableBytes) })
  }
  private var daemonShare: Quantiles {
    Quantiles(asleep.rounds.map { Double($0.daemonShare) })
  }
  private var deepDelays: Quantiles { Quantiles(asleep.deep.map(\.delay)) }
  private var withRecord: Quantiles { Quantiles(asleep.touching.withRecord) }
  private var withoutRecord: Quantiles { Quantiles(asleep.touching.withoutRecord) }
  private var sequentialRead: Quantiles { Quantiles(asleep.touching.sequentialRead) }
  private var touchingFloor: Quantiles { Quantiles(asleep.touching.floor) }
  private var firstFrameToContinue: Quantiles {
    Quantiles(asleep.rounds.compactMap(\.wake.firstFrameToContinueSeconds))
  }

  /// One sentence for each promise that does not hold.
  var failures: [String] {
    var failures: [String] = []
    let keepalives = asleep.asleepKeepalives
    if keepalives.answered < keepalives.sent {
      failures.append(
        "\(keepalives.sent - keepalives.answered) of \(keepalives.sent) keepalives were not answered"
      )
    }
    if keepalives.sent == 0 { failures.append("no keepalive was sent") }
    if asleep.connectionsLost > 0 {
      failures.append("\(asleep.connectionsLost) of \(asleep.connections) connections were lost")
    }
    if !(releasedFraction >= 0.97) {
      failures.append("\(percent(releasedFraction)) of the memory was released, not 97 %")
    }
    if !(speedup >= 20) {
      failures.append(
        "waking is \(decimal(speedup, 1)) times as fast as restoring, not 20 times")
    }
    return failures
  }

  // MARK: - Text

  var text: String {
    """
    A guest of 512 MiB with \(BenchPlace.touchedMegabytes) MiB touched; \
    \(asleep.rounds.count) sleeps, \(saved.delays.count) saves.

    From sending on an idle connection to the reply
      asleep in swap     p50 \(milliseconds(delays.p50)), p95 \(milliseconds(delays.p95)), \
    longest \(milliseconds(delays.maximum))
      asleep deeply      p50 \(milliseconds(deepDelays.p50)), longest \
    \(milliseconds(deepDelays.maximum)) (QEMU's own memory in swap as well)
      only paused        p50 \(milliseconds(paused.p50)), p95 \(milliseconds(paused.p95)) \
    (the floor; nothing released)
      saved to a file    p50 \(milliseconds(restore.p50)), from \(milliseconds(restore.minimum)) to \
    \(milliseconds(restore.maximum))
      waking is \(decimal(speedup, 1)) times as fast as restoring, and \
    \(milliseconds(delays.p50 - paused.p50)) above the floor
      first frame seen to "cont" sent   p50 \(milliseconds(firstFrameToContinue.p50))

    Memory, as the host sees it (\(full.count) sleeps with all of it in memory before)
      released           \(percent(reportedFraction.p50)) of the touched memory, \
    \(percent(reportedFraction.minimum)) at least
      control group      fell by \(percent(groupFraction.p50)) of it
      MemAvailable       grew by \(percent(availableFraction)) of it
      falling asleep     p50 \(milliseconds(Quantiles(full.map(\.sleep.durationSeconds)).p50)); \
    saving to a file \(milliseconds(Quantiles(saved.saveSeconds).p50))

    What it costs when it sleeps deeply
      QEMU               p50 \(megabytes(sleepingQEMUBytes.p50)), at most \
    \(megabytes(sleepingQEMUBytes.maximum)); page tables \(megabytes(pageTableBytes.p50)) more
      daemon and sentry  p50 \(megabytes(daemonShare.p50)) more than without a guest; once, for the first \
    guest, \(megabytes(Double(asleep.daemonFirstWork)))

    Woken to touch \(BenchPlace.retouchedMegabytes) MiB at once
      read ahead         p50 \(milliseconds(withRecord.p50)), \
    \(decimal(withRecord.p50 / sequentialRead.p50, 2)) times as long as reading a file of that size
      by faults alone    p50 \(milliseconds(withoutRecord.p50))
      file read          p50 \(milliseconds(sequentialRead.p50))
      nothing swapped    p50 \(milliseconds(touchingFloor.p50))

    Keepalives answered  \(asleep.asleepKeepalives.answered) of \(asleep.asleepKeepalives.sent) \
    while asleep; \(asleep.keepalives.answered) of \(asleep.keepalives.sent) in all (a guest \
    answers one in 500 ms of its own time)
    Connections lost     \(asleep.connectionsLost) of \(asleep.connections)
    """
  }

  // MARK: - JSON

  /// All of the benchmark's figures. The first eleven are part of the interface of `make bench-sleep`.
  struct Figures: Encodable {
    let wakeP50Seconds: Double
    let wakeP95Seconds: Double
    let wakeMaxSeconds: Double
    let pausedP50Seconds: Double
    let saveRestoreP50Seconds: Double
    let speedup: Double
    let releasedFraction: Double
    let packetToContinueP50Seconds: Double
    let keepalivesSent: Int
    let keepalivesAnswered: Int
    let connectionsLost: Int
    let daemonFirstWorkBytes: UInt64

    let rounds: Int
    let failedSleeps: Int
    let keepalivesAnsweredInAll: Int
    let keepalivesSentInAll: Int
    let packetToContinueP95Seconds: Double
    let pausedP95Seconds: Double
    let prefetchedBytesP50: Double
    let releasedBytesP50: Double
    let releasedFractionByAvailable: Double
    let releasedFractionByGroup: Double
    let releasedFractionMin: Double
    let saveRestoreMaxSeconds: Double
    let saveRestoreMinSeconds: Double
    let saveRestoreRounds: Int
    let saveSecondsP50: Double
    let sequentialSwapReadSeconds: Double
    let sleepP50Seconds: Double
    let sleepingDaemonShareBytes: Double
    let sleepingPageTableBytes: Double
    let sleepingQEMUBytes: Double
    let sleepingResidentBytes: Double
    let touch200MBFloorP50: Double
    let touch200MBRatio: Double
    let touch200MBWithWorkingSetP50: Double
    let touch200MBWithoutWorkingSetP50: Double
    let wakeDeepMaxSeconds: Double
    let wakeDeepP50Seconds: Double
    let wakeTotalP50Seconds: Double
  }

  var figures: Figures {
    Figures(
      wakeP50Seconds: delays.p50, wakeP95Seconds: delays.p95, wakeMaxSeconds: delays.maximum,
      pausedP50Seconds: paused.p50, saveRestoreP50Seconds: restore.p50, speedup: speedup,
      releasedFraction: releasedFraction,
      packetToContinueP50Seconds: firstFrameToContinue.p50,
      keepalivesSent: asleep.asleepKeepalives.sent,
      keepalivesAnswered: asleep.asleepKeepalives.answered,
      connectionsLost: asleep.connectionsLost,
      daemonFirstWorkBytes: asleep.daemonFirstWork,
      rounds: asleep.rounds.count, failedSleeps: asleep.failedSleeps,
      keepalivesAnsweredInAll: asleep.keepalives.answered,
      keepalivesSentInAll: asleep.keepalives.sent,
      packetToContinueP95Seconds: firstFrameToContinue.p95, pausedP95Seconds: paused.p95,
      prefetchedBytesP50: Quantiles(asleep.rounds.map { Double($0.wake.prefetchedBytes) }).p50,
      releasedBytesP50: Quantiles(full.map { Double($0.sleep.releasedBytes) }).p50,
      releasedFractionByAvailable: availableFraction,
      releasedFractionByGroup: groupFraction.p50,
      releasedFractionMin: reportedFraction.minimum,
      saveRestoreMaxSeconds: restore.maximum, saveRestoreMinSeconds: restore.minimum,
      saveRestoreRounds: saved.delays.count,
      saveSecondsP50: Quantiles(saved.saveSeconds).p50,
      sequentialSwapReadSeconds: sequentialRead.p50,
      sleepP50Seconds: Quantiles(full.map(\.sleep.durationSeconds)).p50,
      sleepingDaemonShareBytes: daemonShare.p50,
      sleepingPageTableBytes: pageTableBytes.p50, sleepingQEMUBytes: sleepingQEMUBytes.p50,
      sleepingResidentBytes: sleepingQEMUBytes.p50 + daemonShare.p50,
      touch200MBFloorP50: touchingFloor.p50,
      touch200MBRatio: withRecord.p50 / sequentialRead.p50,
      touch200MBWithWorkingSetP50: withRecord.p50,
      touch200MBWithoutWorkingSetP50: withoutRecord.p50,
      wakeDeepMaxSeconds: deepDelays.maximum, wakeDeepP50Seconds: deepDelays.p50,
      wakeTotalP50Seconds: Quantiles(asleep.rounds.map(\.wake.totalSeconds)).p50)
  }
}
