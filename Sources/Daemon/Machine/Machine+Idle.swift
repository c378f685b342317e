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
  /// guest could have answered. What cannot be read counts as use.
  func watchIdleness() async {
    var last: (time: Duration, at: ContinuousClock.Instant, process: ProcessIdentity)?
    while !Task.isCancelled {
      let interval = min(max((record.idleAfterSeconds ?? 20) / 10, 0.2), 5)
      try? await Task.sleep(for: .seconds(interval))
      guard case .awake(let running) = state else {
        last = nil
        continue
      }
      do {
        let now = ContinuousClock.now
        let time = try await processorTime(of: running)
        guard case .traffic(let traffic) = try await context.sentry.request(.traffic(name: name))
        else { continue }
        noteTraffic(traffic)
        guard let before = last, before.process == running.process.identity else {
          last = (time, now, running.process.identity)
          continue
        }
        last = (time, now, running.process.identity)
        let share = (time - before.time) / (now - before.at) / Double(request.cpus)
        if share < 0 || share > context.configuration.idleProcessorShare { idleSince = now }
        // Bounded: a duration that does not fit would end this process, and the sentry is not its master.
        let lastUse = now - .seconds(min(max(traffic.secondsSinceUse, 0), 1e9))
        if lastUse > idleSince { idleSince = lastUse }
        guard case .awake = state, let limit = record.idleAfterSeconds,
          now - idleSince >= .seconds(limit), traffic.obstacles.isEmpty,
          now >= nextAutomaticSleep
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

  /// Processor time of all vCPU threads since they began.
  private func processorTime(of running: RunningMachine) async throws -> Duration {
    var sum = Duration.zero
    for processor in try await running.monitor.queryCPUsFast() {
      sum += try ProcessInspection.threadCPUTime(
        pid: running.process.identity.pid, tid: processor.threadID)
    }
    return sum
  }
}
