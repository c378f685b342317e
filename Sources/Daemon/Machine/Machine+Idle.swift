import API
import LinuxProcess
import QEMU
import Seamless
import SuspendToSwap

extension Machine {
  /// An automatic sleep that failed is tried again after this.
  static let retryAfterFailure = Duration.seconds(30)

  /// Watches the VM for as long as it exists, and puts it to sleep when it has been idle long enough.
  ///
  /// Two signals, both from the host alone: processor time of the vCPU threads, and frames that only the
  /// guest could have answered. What cannot be read counts as use. A VM that is not awake costs nothing:
  /// there is no timer for it, and nobody asks its QEMU anything.
  func watchIdleness() async {
    var last: Reading?
    while !Task.isCancelled {
      guard case .awake = state else {
        last = nil
        await stateChanges()
        continue
      }
      let interval = min(max((record.idleAfterSeconds ?? 20) / 10, 0.2), 5)
      try? await Task.sleep(until: Self.nextBeat(after: .now + .seconds(interval)))
      guard case .awake(let running) = state else { continue }
      do {
        let reading = try await read(running, after: last)
        let before = last
        last = reading
        let traffic = try await context.sentry.traffic(of: name)
        noteTraffic(traffic)
        guard let before, before.process == reading.process else { continue }
        let share =
          (reading.time - before.time) / (reading.at - before.at) / Double(request.cpus)
        if share < 0 || share > context.configuration.idleProcessorShare {
          idleSince = reading.at
        }
        // Bounded: a duration that does not fit would end this process, and the sentry is not its master.
        let lastUse = reading.at - .seconds(min(max(traffic.secondsSinceUse, 0), 1e9))
        if lastUse > idleSince { idleSince = lastUse }
        guard case .awake = state, let limit = record.idleAfterSeconds,
          reading.at - idleSince >= .seconds(limit), traffic.obstacles.isEmpty,
          reading.at >= nextAutomaticSleep
        else { continue }
        do {
          try await sleep()
        } catch {
          nextAutomaticSleep = .now + Self.retryAfterFailure
        }
      } catch {
        idleSince = .now
        last = nil
      }
    }
  }

  /// All VMs look at the same moments, so that their questions go to the sentry together.
  private static func nextBeat(after time: ContinuousClock.Instant) -> ContinuousClock.Instant {
    let beats = ((time - firstBeat) / .milliseconds(200)).rounded(.up)
    return firstBeat + .milliseconds(200) * Int(beats)
  }

  private static let firstBeat = ContinuousClock.now

  /// What the vCPU threads of a QEMU had used at one moment.
  private struct Reading {
    let process: ProcessIdentity
    /// Asked of QEMU once; they stay the same for as long as it runs.
    let threads: [Int32]
    let time: Duration
    let at: ContinuousClock.Instant
  }

  private func read(_ running: RunningMachine, after last: Reading?) async throws -> Reading {
    let process = running.process.identity
    let threads: [Int32]
    if let last, last.process == process {
      threads = last.threads
    } else {
      threads = try await running.monitor.queryCPUsFast().map(\.threadID)
    }
    var time = Duration.zero
    for thread in threads {
      time += try ProcessInspection.threadCPUTime(pid: process.pid, tid: thread)
    }
    return Reading(process: process, threads: threads, time: time, at: .now)
  }
}
