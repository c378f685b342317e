internal import LinuxMemory
public import LinuxProcess

/// Watches what a QEMU process uses after a wake.
///
/// The page-out has unmapped everything, so what is in the page table again was used; what is only read
/// ahead is in no page table.
public struct WakeRecorder: Sendable {
  private let plan: WakePlan
  private let pid: Int32
  private var seen: [Range<UInt>]
  private var use: [[Range<UInt>]] = []

  /// - Parameter plan: of the sleep that ends.
  public init(plan: WakePlan, of process: borrowing ProcessHandle) {
    self.plan = plan
    pid = process.identity.pid
    seen = AddressRanges.merged(plan.stayed)
  }

  /// Ends the present period. Takes milliseconds per GiB: call it on a thread that may block.
  ///
  /// - Throws: `LinuxError` when the process has ended.
  public mutating func endPeriod() throws {
    let map = try PageMap(pid: pid)
    var present: [Range<UInt>] = []
    for range in plan.watched { present += try map.presentRanges(in: range) }
    use.append(present.flatMap { AddressRanges.subtract(seen, from: $0) })
    seen = AddressRanges.merged(seen + present)
  }

  /// The record for the next wake.
  public var record: WakeRecord {
    plan.record.refreshed(
      by: use, stayed: plan.stayed, isComplete: use.count == WakeRecord.periods.count)
  }
}
