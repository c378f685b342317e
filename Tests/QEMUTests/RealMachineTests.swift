import Glibc
import LinuxProcess
import LinuxSystem
import QEMU
import Testing

/// A real QEMU, as a user without any rights, that is given nothing but descriptors.
@Suite(.serialized, .timeLimit(.minutes(1))) struct RealMachineTests {
  static let binary = "/usr/bin/qemu-system-x86_64"
  static let nobody = Credentials(uid: 65_534, gid: 65_534)

  @Test func knowsWhatThisHostCanDo() async throws {
    let capabilities = try await QEMUCapabilities.probe(
      binary: Self.binary, credentials: Self.nobody)
    #expect(capabilities.version >= .minimum)
    #expect(capabilities.machineType.hasPrefix("pc-q35-"))
    #expect(!capabilities.acceleratorReason.isEmpty)
    let again = ContinuousClock.now
    #expect(
      try await QEMUCapabilities.probe(binary: Self.binary, credentials: Self.nobody)
        == capabilities)
    #expect(again.duration(to: .now) < .milliseconds(50))
  }

  @Test(arguments: ["/nonexistent/qemu", "/bin/true", "/etc/passwd"])
  func saysThatThereIsNoQEMU(binary: String) async {
    await #expect {
      try await QEMUCapabilities.probe(binary: binary)
    } throws: { error in
      guard let error = error as? QEMUError else { return false }
      return [.binary, .host].contains(error.code) && error.message.contains(binary)
    }
  }

  @Test func startsStopsAndQuits() async throws {
    let machine = try await RunningMachine(accelerator: .tcg)
    let monitor = try await QMPClient.connect(path: machine.monitorPath)
    let second = try await QMPClient.connect(path: machine.secondMonitorPath)
    let events = second.events()
    #expect(try await monitor.queryStatus() == .prelaunch)
    #expect(try await monitor.queryKVM() == false)

    try await monitor.cont()
    #expect(try await monitor.queryStatus() == .running)
    try await monitor.stop()
    #expect(try await second.queryStatus() == .paused)
    try await monitor.cont()

    let cpus = try await monitor.queryCPUsFast()
    #expect(cpus.map(\.index) == [0, 1])
    for cpu in cpus {
      #expect(access("/proc/\(machine.identity.pid)/task/\(cpu.threadID)", F_OK) == 0)
    }
    // As what it was started, and nobody else.
    #expect(try Self.status(of: machine.identity, "Uid:").allSatisfy { $0 == "65534" })
    #expect(try Self.status(of: machine.identity, "CapEff:") == ["0000000000000000"])

    #expect(try await machine.consoleText(monitor, until: "disk read").contains("disk read"))

    await #expect {
      try await monitor.execute("no-such-command")
    } throws: { ($0 as? QMPError)?.failure?.errorClass == "CommandNotFound" }

    try await monitor.quit()
    #expect(try await machine.waitForExit() == .exited(0))
    #expect(!machine.identity.isAlive)
    await monitor.waitUntilClosed()
    let names = await events.reduce(into: []) { $0.append($1.name) }
    #expect(names.prefix(3) == ["RESUME", "STOP", "RESUME"])
    #expect(names.contains("SHUTDOWN"))
  }

  @Test func anAgentThatNeverComesIsGivenUp() async throws {
    let machine = try await RunningMachine(accelerator: .tcg)
    let agent = try await GuestAgentClient.connect(path: machine.agentPath)
    let start = ContinuousClock.now
    await #expect {
      try await agent.synchronize(deadline: .milliseconds(200))
    } throws: { ($0 as? QMPError)?.code == .deadline }
    #expect(start.duration(to: .now) < .seconds(5))
    try await machine.kill()
  }

  @Test func aKilledMachineIsNoticed() async throws {
    let machine = try await RunningMachine(accelerator: .tcg)
    let monitor = try await QMPClient.connect(path: machine.monitorPath)
    try await machine.kill()
    await monitor.waitUntilClosed()
    await #expect {
      try await monitor.cont()
    } throws: { ($0 as? QMPError)?.code == .closed }
  }

  @Test func aDiskBelongsToOneMachine() async throws {
    let machine = try await RunningMachine(accelerator: .tcg)
    _ = try await QMPClient.connect(path: machine.monitorPath)
    let rival = try await machine.rival()
    #expect(try await rival.waitForExit() == .exited(1))
    let complaint = try #require(rival.process.complaints.recent())
    #expect(complaint.contains("lock"), "\(complaint)")
    try await machine.kill()
  }

  @Test func savesAndRestores() async throws {
    let machine = try await RunningMachine(accelerator: .tcg)
    let monitor = try await QMPClient.connect(path: machine.monitorPath)
    try await monitor.cont()
    _ = try await machine.consoleText(monitor, until: "disk read")
    try await monitor.stop()
    let uri = "file:\(machine.savePath)"
    try await monitor.migrateSetCapabilities(["mapped-ram": true])
    try await monitor.migrate(uri: uri)
    let progress = try await monitor.waitForMigration(deadline: .seconds(20))
    #expect(progress.status == "completed")
    #expect(try await monitor.queryStatus() == .postMigrate)
    try await monitor.quit()
    #expect(try await machine.waitForExit() == .exited(0))

    let successor = try await machine.successor(incoming: "defer")
    let restored = try await QMPClient.connect(path: successor.monitorPath)
    #expect(try await restored.queryStatus() == .inMigrate)
    try await restored.migrateSetCapabilities(["mapped-ram": true])
    try await restored.migrateIncoming(uri: uri)
    try await restored.waitForMigration(deadline: .seconds(20))
    try await restored.cont()
    #expect(try await restored.queryStatus() == .running)
    // It goes on where it was, and does not boot again.
    #expect(
      try await restored.ringbufRead(device: MachineCommandLine.console, size: 65_536).isEmpty)
    try await successor.kill()
  }

  private static func status(of process: ProcessIdentity, _ field: String) throws -> [Substring] {
    let text = try KernelFile.text("/proc/\(process.pid)/status")
    let line = text.split(separator: "\n").first { $0.hasPrefix(field) }
    return line?.split(whereSeparator: \.isWhitespace).dropFirst().map { $0 } ?? []
  }
}
