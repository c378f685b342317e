import Glibc
import LinuxProcess
import LinuxSystem
import QEMU
import Testing

/// A machine of 32 MiB that boots from a small disk and then waits for ever. Its files are in a
/// directory that only root may enter.
final class RunningMachine: Sendable {
  let process: VirtualMachineProcess
  private let description: MachineDescription
  private let directory: Directory

  /// Shared by a machine and its successor; removed with the last of them.
  private final class Directory: Sendable {
    let own: String
    /// Where QEMU itself may write.
    let saves: String
    private let first: TemporaryDirectory
    private let second: TemporaryDirectory

    init() throws {
      first = try TemporaryDirectory()
      second = try TemporaryDirectory()
      own = first.path
      saves = second.path
      guard chown(saves, RealMachineTests.nobody.uid, RealMachineTests.nobody.gid) == 0 else {
        throw TestFailure("these tests must run as root")
      }
    }
  }

  var identity: ProcessIdentity { process.identity }
  var monitorPath: String { directory.own + "/monitor" }
  var secondMonitorPath: String { directory.own + "/monitor2" }
  var agentPath: String { directory.own + "/agent" }
  var savePath: String { directory.saves + "/state" }

  convenience init(accelerator: Accelerator) async throws {
    let directory = try Directory()
    try write(RunningMachine.bootDisk, to: directory.own + "/disk")
    try write([UInt8](repeating: 0, count: 512), to: directory.own + "/second")
    let capabilities = try await QEMUCapabilities.probe(
      binary: RealMachineTests.binary, credentials: RealMachineTests.nobody)
    let description = try MachineDescription.freeze(
      MachineRequest(
        name: "test", memoryBytes: 32 << 20, cpus: 2, accelerator: accelerator,
        disks: [
          DiskDescription(path: directory.own + "/disk", format: .raw, serial: "boot"),
          DiskDescription(path: directory.own + "/second", format: .raw, readOnly: true),
        ]), capabilities: capabilities)
    try await self.init(description, directory, incoming: nil)
  }

  /// - Parameter disks: where the disks are, if they are another machine's.
  private init(
    _ description: MachineDescription, _ directory: Directory, disks: Directory? = nil,
    incoming: String?
  ) async throws {
    let disks = disks ?? directory
    let monitor = try UnixListener.bind(path: directory.own + "/monitor", mode: 0o600)
    let second = try UnixListener.bind(path: directory.own + "/monitor2", mode: 0o600)
    let agent = try UnixListener.bind(path: directory.own + "/agent", mode: 0o600)
    let disk = OwnedFileDescriptor(owning: try checked(open(disks.own + "/disk", O_RDWR)))
    let readOnly = OwnedFileDescriptor(
      owning: try checked(open(disks.own + "/second", O_RDONLY)))
    self.description = description
    self.directory = directory
    process = try await VirtualMachineProcess.launch(
      binary: RealMachineTests.binary, description: description,
      resources: MachineResources(
        monitors: [monitor.rawValue, second.rawValue], guestChannels: [agent.rawValue],
        disks: [disk.rawValue, readOnly.rawValue]),
      credentials: RealMachineTests.nobody, incoming: incoming)
    monitor.close()
    second.close()
    agent.close()
    disk.close()
    readOnly.close()
  }

  deinit {
    guard let process = try? ProcessHandle(opening: identity) else { return }
    try? process.signal(SIGKILL)
  }

  /// The same machine in a new process.
  func successor(incoming: String) async throws -> RunningMachine {
    try await RunningMachine(description, directory, incoming: incoming)
  }

  /// Another machine with the same disks.
  func rival() async throws -> RunningMachine {
    try await RunningMachine(description, try Directory(), disks: directory, incoming: nil)
  }

  func kill() async throws {
    let process = try ProcessHandle(opening: identity)
    try process.signal(SIGKILL)
    #expect(try await process.waitForExit(timeout: .seconds(5)))
    #expect(try process.reap() == .signaled(SIGKILL, coreDumped: false))
  }

  func waitForExit() async throws -> LinuxProcess.ExitStatus? {
    let process = try ProcessHandle(opening: identity)
    #expect(try await process.waitForExit(timeout: .seconds(5)))
    return try process.reap()
  }

  func consoleText(_ monitor: QMPClient, until word: String) async throws -> String {
    var text = ""
    for _ in 0..<500 where !text.contains(word) {
      let bytes = try await monitor.ringbufRead(device: MachineCommandLine.console, size: 65_536)
      text += String(decoding: bytes, as: UTF8.self)
      try await Task.sleep(for: .milliseconds(10))
    }
    return text
  }

  /// Writes "disk read" to the first serial port and halts.
  private static let bootDisk: [UInt8] = {
    var code: [UInt8] = [0xBA, 0xF8, 0x03]  // mov $0x3f8, %dx
    for byte in "disk read\n".utf8 { code += [0xB0, byte, 0xEE] }  // mov $byte, %al; out %al, (%dx)
    code += [0xF4, 0xEB, 0xFD]  // 1: hlt; jmp 1b
    code += [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xAA]
    // Firmware boots from no disk that is smaller than a cylinder.
    return code + [UInt8](repeating: 0, count: (1 << 20) - code.count)
  }()
}
