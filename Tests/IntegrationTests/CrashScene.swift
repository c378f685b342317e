import API
import FoundationEssentials
import Glibc
import Inventory
import LinuxSystem
import QEMU
import TestBed
import Testing

/// A scene with connections that were established once, and what must hold after every crash.
final class CrashScene: Sendable {
  let scene: Scene
  /// To the guest's echo service, over IPv4 and IPv6, with a keepalive every second: three that are not
  /// answered are the end. No crash may cost one of them.
  let connections: [EchoConnection]
  private let tap: String
  private let inventory: Inventory

  /// How long a daemon that starts may take to put everything in order.
  static let reconciliation = Duration.seconds(5)

  fileprivate init(_ scene: Scene) async throws {
    self.scene = scene
    guard let tap = try await scene.machine().networks.first?.tap else {
      throw TestBedError(code: .malformed, message: "the VM has no tap")
    }
    self.tap = tap
    var connections: [EchoConnection] = []
    for address in scene.guest.addresses.both {
      connections.append(try await EchoConnection(from: scene.client, to: address))
    }
    self.connections = connections
    inventory = try await Inventory.open(
      path: scene.daemon.stateDirectory + "/inventory.sqlite")
  }

  @TaskLocal fileprivate static var shared: CrashScene?

  static func current() throws -> CrashScene {
    guard let shared else {
      throw TestBedError(code: .unprepared, message: "this test's suite has no crash scene")
    }
    return shared
  }

  // MARK: - Crashes

  /// Kills the daemon and starts another one; returns when it began to start.
  @discardableResult
  func restartDaemon(failpoint: String? = nil) async throws -> ContinuousClock.Instant {
    try await scene.daemon.kill()
    let start = ContinuousClock.now
    try await scene.daemon.start(
      environment: failpoint.map { ["DORMOUSE_FAILPOINTS": $0 + "=kill"] } ?? [:])
    return start
  }

  /// Kills daemon and sentry and starts both anew; the sentry dies at the failpoint.
  func restartBoth(sentryFailpoint: String) async throws {
    let sentry = try await sentryID()
    try await scene.daemon.kill()
    kill(sentry, SIGKILL)
    let start = ContinuousClock.now
    try await scene.daemon.start(
      environment: ["DORMOUSE_SENTRY_FAILPOINTS": sentryFailpoint + "=kill"])
    try await expectSound(since: start, asleep: false)
  }

  /// Kills the sentry.
  func killSentry() async throws { kill(try await sentryID(), SIGKILL) }

  /// The process of the sentry that the daemon works with.
  func sentryID() async throws -> Int32 {
    try await eventually("a sentry", within: .seconds(5), every: .milliseconds(20)) {
      let sentry = try await scene.api.status().sentry
      return sentry.state == .running ? sentry.pid : nil
    }
  }

  /// Waits until another sentry than this one serves the daemon.
  func waitForSuccessor(of old: Int32, within deadline: Duration) async throws {
    try await eventually("another sentry", within: deadline, every: .milliseconds(20)) {
      let sentry = try await scene.api.status().sentry
      return sentry.state == .running && sentry.pid != old ? () : nil
    }
  }

  // MARK: - What must hold

  /// Waits until everything is in order: one owner of the address, nothing left over, nothing unfinished.
  ///
  /// - Parameters:
  ///   - start: when the deadline began to run.
  ///   - asleep: whether the VM must sleep; nil when both are right.
  /// - Returns: whether it sleeps.
  @discardableResult
  func expectSound(
    since start: ContinuousClock.Instant, within deadline: Duration = reconciliation,
    asleep: Bool? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> Bool {
    while true {
      let (state, defects) = try await examine(asleep: asleep)
      if defects.isEmpty { return state == .asleep }
      guard ContinuousClock.now - start < deadline else {
        Issue.record(
          "\(deadline) later: \(defects.joined(separator: "; "))", sourceLocation: sourceLocation)
        return state == .asleep
      }
      try await Task.sleep(for: .milliseconds(30))
    }
  }

  private func examine(asleep: Bool?) async throws -> (VirtualMachine.State, defects: [String]) {
    let state = try await scene.machine().state
    var defects: [String] = []
    switch asleep {
    case true where state != .asleep: defects.append("the VM is \(state.rawValue), not asleep")
    case false where state != .awake: defects.append("the VM is \(state.rawValue), not awake")
    case nil where state != .awake && state != .asleep:
      defects.append("the VM is \(state.rawValue)")
    default: break
    }
    let sleeps = state == .asleep
    let detours = try await detours()
    if detours != (sleeps ? 1 : 0) {
      defects.append("\(detours) detours of a VM that is \(state.rawValue)")
    }
    let taps = try await scene.taps()
    if taps.count != 2 { defects.append("taps: \(taps)") }
    let processes = try await processes()
    if processes != ["dormouse-sentry", "dormoused", "qemu-system-x86"] {
      defects.append("processes: \(processes)")
    }
    if let limit = try limit(), limit < 1 << 62 {
      defects.append("its control group is limited to \(limit) bytes")
    }
    let name = scene.name
    let step = try await inventory.read { try $0.currentStep(name) }
    if sleeps ? step?.step != "asleep" : step != nil {
      defects.append(
        "the journal of a VM that is \(state.rawValue) says \(step?.step ?? "nothing")")
    }
    return (state, defects)
  }

  /// Both connections carry data.
  func expectConnectionsLive() async throws {
    for connection in connections {
      try await connection.echo(Array("still there?".utf8), within: .seconds(10))
    }
  }

  /// The VM sleeps and is answered for: QEMU is paused, and keepalives get their answers.
  func expectSleepingOn(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let before = scene.keepalives.count()
    try await Task.sleep(for: .milliseconds(2500))
    let after = scene.keepalives.count()
    #expect(after.answered >= before.answered + 3, sourceLocation: sourceLocation)
    #expect(try await qemuStatus() == .paused, sourceLocation: sourceLocation)
    try await expectSound(since: .now, asleep: true, sourceLocation: sourceLocation)
  }

  /// What QEMU itself says. Its monitor serves one at a time, so the daemon is killed for it.
  private func qemuStatus() async throws -> RunState {
    try await scene.daemon.kill()
    let monitor = try await QMPClient.connect(
      path: "\(scene.daemon.stateDirectory)/machines/\(scene.name)/monitor.sock")
    let status = try await monitor.queryStatus()
    monitor.close()
    try await scene.daemon.start()
    return status
  }

  /// The filters that take frames from the VM's tap, as tc shows them: this needs no daemon.
  func detours() async throws -> Int {
    try await scene.network.host.run("tc", "filter", "show", "dev", tap, "egress")
      .split(separator: "\n").count { $0.contains("mirred") }
  }

  /// The names of all processes in the host's namespace, sorted.
  func processes() async throws -> [String] {
    try await Command.run("ip", "netns", "pids", scene.network.host.name)
      .split(separator: "\n").compactMap { pid in
        // One that has just ended has no name; what is asked for here goes on.
        (try? KernelFile.text("/proc/\(pid)/comm"))?
          .split(separator: "\n").first.map(String.init)
      }.sorted()
  }

  /// How many VMs have a control group.
  func controlGroups() throws -> Int {
    let base = ["/sys/fs/cgroup/memory/", "/sys/fs/cgroup/"].map { $0 + scene.lab.controlGroup }
      .first { FileManager.default.fileExists(atPath: $0) }
    guard let base else { return 0 }
    return try FileManager.default.contentsOfDirectory(atPath: base).count {
      FileManager.default.fileExists(atPath: "\(base)/\($0)/cgroup.procs")
    }
  }

  /// What a control group of version 1 is limited to; one of version 2 never is.
  private func limit() throws -> UInt64? {
    let group = "/sys/fs/cgroup/memory/\(scene.lab.controlGroup)/\(tap.dropFirst("dmt".count))"
    guard FileManager.default.fileExists(atPath: group) else { return nil }
    return try KernelFile.number(group + "/memory.limit_in_bytes")
  }
}

/// Gives all tests of a suite one ``CrashScene``, with one boot; the suite must be serialized.
struct CrashSceneTrait: SuiteTrait, TestScoping {
  let name: String

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withScene(name, memoryMegabytes: 384) { scene in
      let crash = try await CrashScene(scene)
      try await CrashScene.$shared.withValue(crash) { try await function() }
    }
  }
}

extension Trait where Self == CrashSceneTrait {
  static func crashScene(_ name: String) -> Self { CrashSceneTrait(name: name) }
}
