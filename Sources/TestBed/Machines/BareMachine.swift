import Glibc

/// A guest under a QEMU that the lab starts itself, without Dormouse: to try the guest image, and as a
/// baseline.
public final class BareMachine: Sendable {
  public let guest: Guest
  public let process: LabProcess
  /// The path of QEMU's monitor (QMP).
  public let monitor: String
  /// The path of the guest agent's port.
  public let agent: String

  /// Starts QEMU with software emulation; see ``Guest/waitUntilUp(from:within:)``.
  public init(
    _ guest: Guest, on network: LabNetwork, in lab: Lab, memoryMegabytes: Int = 512,
    extraArguments: [String] = []
  ) async throws {
    self.guest = guest
    let directory = try lab.makeDirectory("bare-\(guest.name)-")
    monitor = directory + "/qmp"
    agent = directory + "/agent"
    let tap = "bare\(Lab.nextNumber())"
    try await network.host.run("ip", "tuntap", "add", tap, "mode", "tap")
    try await network.host.run("ip", "link", "set", tap, "master", network.bridge, "up")
    TestFailureLog.add(directory + "/console.log")
    process = try await LabProcess(
      [
        "/usr/bin/qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi",
        "-cpu", "max", "-smp", "1", "-m", "\(memoryMegabytes)", "-nodefaults",
        "-display", "none", "-serial", "file:\(directory)/console.log",
        "-kernel", guest.image.kernel, "-initrd", guest.image.initrd,
        "-append", guest.kernelArguments,
        "-drive", "if=none,id=disk,file=\(guest.disk.path),format=qcow2",
        "-device", "virtio-blk-pci,drive=disk",
        "-netdev", "tap,id=net,ifname=\(tap),script=no,downscript=no",
        "-device", "virtio-net-pci,netdev=net,romfile=,mac=\(guest.addresses.macAddress)",
        "-device", "virtio-serial-pci",
        "-chardev", "socket,id=agent,path=\(agent),server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-qmp", "unix:\(monitor),server=on,wait=off",
      ] + extraArguments,
      in: network.host, log: directory + "/qemu.log")
  }

  /// Ends QEMU at once.
  public func stop() async throws { try await process.kill() }
}
