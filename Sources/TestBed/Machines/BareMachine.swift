import Glibc
import LinuxSystem
import QEMU

/// A guest under a QEMU that the lab starts itself, without Dormouse: to try the guest image, and as a
/// baseline.
public final class BareMachine: Sendable {
  public let guest: Guest
  public let process: LabProcess
  /// The path of QEMU's monitor (QMP).
  public let monitor: String
  /// The path of the guest agent's port.
  public let agent: String
  /// How it was started; another QEMU started alike is the same machine.
  let setup: Setup

  struct Setup: Sendable {
    let guest: Guest
    let network: LabNetwork
    /// Of the machine's own. Its tap outlives its QEMU.
    let directory: String
    let tap: String
    let memoryMegabytes: Int
    let extraArguments: [String]
  }

  /// Starts QEMU with software emulation and the processor that Dormouse gives its guests; see
  /// ``Guest/waitUntilUp(from:within:)``.
  public convenience init(
    _ guest: Guest, on network: LabNetwork, in lab: Lab, memoryMegabytes: Int = 512,
    extraArguments: [String] = []
  ) async throws {
    let directory = try lab.makeDirectory("bare-\(guest.name)-")
    let tap = "bare\(Lab.nextNumber())"
    try await network.host.run("ip", "tuntap", "add", tap, "mode", "tap")
    try await network.host.run("ip", "link", "set", tap, "master", network.bridge, "up")
    TestFailureLog.add(directory + "/console.log")
    try await self.init(
      Setup(
        guest: guest, network: network, directory: directory, tap: tap,
        memoryMegabytes: memoryMegabytes, extraArguments: extraArguments))
  }

  /// Starts QEMU.
  ///
  /// - Parameter incoming: on top of the setup's arguments.
  init(_ setup: Setup, incoming: [String] = []) async throws {
    self.setup = setup
    guest = setup.guest
    monitor = setup.directory + "/qmp"
    agent = setup.directory + "/agent"
    process = try await LabProcess(
      ["/usr/bin/qemu-system-x86_64"] + Self.arguments(setup, monitor: monitor, agent: agent)
        + setup.extraArguments + incoming,
      in: setup.network.host, log: setup.directory + "/qemu.log")
  }

  private static func arguments(_ setup: Setup, monitor: String, agent: String) -> [String] {
    let guest = setup.guest
    return [
      "-machine", "q35,memory-backend=ram0", "-accel", "tcg,thread=multi,tb-size=64",
      "-cpu", Accelerator.tcg.defaultCPUModel, "-smp", "1",
      "-m", "\(setup.memoryMegabytes)",
      "-object", "memory-backend-memfd,id=ram0,share=on,size=\(setup.memoryMegabytes)M",
      "-nodefaults", "-display", "none", "-serial", "file:\(setup.directory)/console.log",
      "-kernel", guest.image.kernel, "-initrd", guest.image.initrd,
      "-append", guest.kernelArguments,
      "-drive", "if=none,id=disk,file=\(guest.disk.path),format=qcow2",
      "-device", "virtio-blk-pci,drive=disk",
      "-netdev", "tap,id=net,ifname=\(setup.tap),script=no,downscript=no",
      "-device", "virtio-net-pci,netdev=net,romfile=,mac=\(guest.addresses.macAddress)",
      "-device", "virtio-serial-pci",
      "-chardev", "socket,id=agent,path=\(agent),server=on,wait=off",
      "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
      "-qmp", "unix:\(monitor),server=on,wait=off",
    ]
  }

  /// Ends QEMU at once.
  public func stop() async throws { try await process.kill() }
}
