import Glibc
import TestBed

/// What one sleeping guest costs its host in memory.
enum SleepingCost {
  /// What daemon and sentry take while they have no guest, and after they have had one.
  struct Baseline: Sendable {
    private let processes: [Int32]
    private let bytes: UInt64
    /// By how many bytes they were larger than before their first guest, when it was gone: what they load for
    /// their first work and keep for the next.
    let firstWorkBytes: UInt64

    /// - Parameter work: what puts a guest to sleep, wakes it and deletes it.
    init(of daemon: LabDaemon, afterFirst work: () async throws -> Void) async throws {
      // What they get for the first answers they keep for the next.
      for _ in 1...20 {
        _ = try await daemon.client.status()
        _ = try await daemon.client.list()
      }
      guard let own = await daemon.pid, let sentry = try await daemon.client.status().sentry.pid
      else { throw TestBedError(code: .malformed, message: "daemon or sentry does not run") }
      processes = [own, sentry]
      let before = try Self.bytes(of: processes)
      try await work()
      bytes = try Self.bytes(of: processes)
      firstWorkBytes = bytes - min(bytes, before)
    }

    /// Bytes by which they are larger now.
    func growth() throws -> UInt64 {
      let now = try Self.bytes(of: processes)
      return now - min(now, bytes)
    }

    private static func bytes(of processes: [Int32]) throws -> UInt64 {
      try processes.reduce(0) { try $0 + HostMemory.proportionalBytes(of: $1) }
    }
  }
}

extension BenchPlace {
  /// What a guest reads at once when it is woken: a part of what it has touched.
  static let retouchedMegabytes = 200
  static let touchingRounds = 5

  /// A sleep that has lasted long enough for QEMU's own memory to be paged out as well.
  struct Deep: Sendable {
    /// From sending on an idle connection to the reply, in seconds.
    let delay: Double
    /// PSS of the guest's QEMU while it slept.
    let qemuBytes: UInt64
    /// QEMU's page tables, which PSS leaves out.
    let pageTableBytes: UInt64
  }

  func measureDeepSleep(
    _ guest: Guest, on daemon: LabDaemon, connection: EchoConnection, rounds: Int
  ) async throws -> [Deep] {
    Report.line("\(rounds) deep sleeps (about \(rounds * 7) s)")
    // As after ten seconds, without waiting for them.
    try await daemon.stop()
    try await daemon.start(arguments: ["--deep-after", "0"])
    var result: [Deep] = []
    // The first wake finds no record of what QEMU uses, and makes it.
    for round in 0...rounds {
      try await sleepDeeply(guest, on: daemon)
      try await Task.sleep(for: .milliseconds(Int.random(in: 1_000..<1_300)))
      guard let pid = try await daemon.client.show(guest.name).pid else {
        throw TestBedError(code: .malformed, message: "\(guest.name) has no process")
      }
      let cost = (
        qemu: try HostMemory.proportionalBytes(of: pid),
        pageTables: try HostMemory.pageTableBytes(of: pid)
      )
      let delay = try await connection.echo(Self.message(), within: .seconds(30)).inSeconds
      if round > 0 {
        result.append(
          Deep(delay: delay, qemuBytes: cost.qemu, pageTableBytes: cost.pageTables))
      }
      // The daemon looks which pages the wake uses; what it has seen by the next sleep counts.
      try await Task.sleep(for: .milliseconds(2_500))
    }
    return result
  }

  private func sleepDeeply(_ guest: Guest, on daemon: LabDaemon) async throws {
    _ = try await daemon.sleepWhenQuiet(guest.name)
    try await eventually("QEMU to be paged out", within: .seconds(30)) {
      try await daemon.client.show(guest.name).sleep?.qemuReleasedBytes.map { _ in () }
    }
  }

  /// Times of a command in the guest that is typed while it sleeps and reads much memory; in seconds.
  struct Touching: Sendable {
    /// With the record of an earlier wake that did the same.
    var withRecord: [Double] = []
    /// Without any record: by faults alone.
    var withoutRecord: [Double] = []
    /// Awake, with all of it in memory.
    var floor: [Double] = []
    /// Reading a file of that size past the page cache.
    var sequentialRead: [Double] = []
  }

  func measureTouching(
    _ guest: Guest, on daemon: LabDaemon, shell: SSHSession
  ) async throws -> Touching {
    Report.line(
      "\(2 * Self.touchingRounds) wakes that touch \(Self.retouchedMegabytes) MiB (about 80 s)")
    var touching = Touching()
    let command =
      "dd if=/mnt/touched of=/dev/null bs=1M count=\(Self.retouchedMegabytes) status=none"
    for _ in 1...Self.touchingRounds {
      // In turns, so that whatever else the machine does meets both.
      for recorded in [false, true] {
        // The second time is the floor: all of it is in memory then.
        _ = try await shell.run(command, within: .seconds(60))
        touching.floor.append(try await shell.run(command, within: .seconds(60)).delay.inSeconds)
        if !recorded { unlink(daemon.wakeRecord(of: guest.name)) }
        try await sleepDeeply(guest, on: daemon)
        try await Task.sleep(for: .seconds(1))
        let delay = try await shell.run(command, within: .seconds(120)).delay
        if recorded {
          touching.withRecord.append(delay.inSeconds)
        } else {
          touching.withoutRecord.append(delay.inSeconds)
        }
        // The daemon looks which pages the wake uses; what it has seen by the next sleep counts.
        try await Task.sleep(for: .milliseconds(2_500))
      }
      touching.sequentialRead.append(
        try await DiskReading.sequential(megabytes: Self.retouchedMegabytes, in: lab).inSeconds)
    }
    return touching
  }
}
