import Glibc

/// A whole host under software emulation, with a kernel of its own, systemd, control groups v2, and a KVM
/// that really runs virtual machines: the emulated processor has AMD's virtualization.
///
/// Its only interface is a port of the bridge `br0` inside, and is itself at the bridge of a
/// ``LabNetwork``. So its virtual machines are on that network, and clients of the lab reach them at full
/// speed. Commands run over ssh, from the network's host.
public actor EmulatedHost {
  /// What it consists of.
  public struct Configuration: Sendable {
    /// An ELF kernel or a bzImage; the image's own unless changed.
    public var kernel: String
    /// The image's own unless changed.
    public var initrd: String
    /// On top of those that every system of the lab has.
    public var kernelArguments: [String] = []
    public var processors = 2
    public var memoryMegabytes = 2048
    /// In this order `/dev/vdb`, `/dev/vdc` and so on; `/dev/vda` is the root file system.
    public var drives: [Drive] = []
    /// Further arguments for QEMU.
    public var extraArguments: [String] = []

    /// A host with no drive but the root file system's.
    public init(in lab: Lab) throws {
      let image = try lab.image(.emulatedHost)
      kernel = image.kernel
      initrd = image.initrd
    }
  }

  public nonisolated let name: String
  public nonisolated let addresses: LabAddresses
  /// What kernel, systemd and its services say, ``TestFailureLog`` shows it when a test fails.
  public nonisolated let serialLog: String
  /// The path of QEMU's monitor (QMP).
  public nonisolated let monitor: String
  public nonisolated let process: LabProcess
  /// Of its own, on the lab's side.
  nonisolated let directory: String
  nonisolated let network: LabNetwork
  nonisolated let image: GuestImage
  /// The ssh connection that all commands share.
  var session: LabProcess?

  /// Switches it on. It is up when ``connect(within:)`` returns.
  public init(
    _ name: String, on network: LabNetwork, in lab: Lab, configuration: Configuration
  ) async throws {
    self.name = name
    self.network = network
    image = try lab.image(.emulatedHost)
    addresses = network.nextGuestAddresses()
    directory = try lab.makeDirectory("host-\(name)-")
    serialLog = directory + "/serial.log"
    monitor = directory + "/qmp"
    TestFailureLog.add(serialLog)
    let disk = try await CopyOnWriteDisk(of: image, in: directory)
    let tap = "emu\(Lab.nextNumber())"
    try await network.host.run("ip", "tuntap", "add", tap, "mode", "tap")
    try await network.host.run("ip", "link", "set", tap, "master", network.bridge, "up")
    let drives = [Drive(disk.path, format: "qcow2")] + configuration.drives
    process = try await LabProcess(
      [
        "/usr/bin/qemu-system-x86_64", "-machine", "q35",
        // Only software emulation has the processor that is wanted, on whatever machine this runs.
        "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max",
        "-smp", "\(configuration.processors)", "-m", "\(configuration.memoryMegabytes)",
        "-nodefaults", "-display", "none", "-serial", "file:\(serialLog)",
        "-kernel", configuration.kernel, "-initrd", configuration.initrd,
        "-append",
        GuestImage.kernelArguments(
          addresses: [addresses.ipv4WithPrefix, addresses.ipv6WithPrefix],
          extra: configuration.kernelArguments),
        "-netdev", "tap,id=net,ifname=\(tap),script=no,downscript=no",
        "-device", "virtio-net-pci,netdev=net,romfile=,mac=\(addresses.macAddress)",
        "-qmp", "unix:\(monitor),server=on,wait=off",
      ] + drives.enumerated().flatMap { $1.arguments(number: $0) } + configuration.extraArguments,
      in: network.host, log: directory + "/qemu.log")
  }

  /// Switches it off at once, with all that runs on it.
  public func stop() async throws {
    try await session?.kill()
    session = nil
    try await process.kill()
  }
}

/// A disk of an ``EmulatedHost``.
public struct Drive: Sendable, Hashable {
  public let path: String
  /// As QEMU names it.
  public let format: String
  public let readOnly: Bool

  /// - Parameter path: of the image, which nobody else writes.
  public init(_ path: String, format: String = "raw", readOnly: Bool = false) {
    self.path = path
    self.format = format
    self.readOnly = readOnly
  }

  /// An empty disk that is a swap area from its first block on.
  public static func swap(megabytes: Int, in lab: Lab) async throws -> Drive {
    let path = try lab.makeDirectory("swap") + "/disk"
    try await Command.run("truncate", "--size", "\(megabytes)M", path)
    try await Command.run("mkswap", "--quiet", path)
    return Drive(path)
  }

  /// A read-only file system with copies of files.
  ///
  /// - Parameter files: where each lies here, by its path there.
  public static func files(_ files: [String: String], in lab: Lab) async throws -> Drive {
    let directory = try lab.makeDirectory("files")
    let tree = directory + "/tree"
    for (path, source) in files {
      try await Command.run("install", "-D", "--mode=0755", source, "\(tree)/\(path)")
    }
    let kilobytes = try await Command.run("du", "--summarize", "--block-size=1K", tree)
      .prefix { $0.isNumber }
    guard let size = Int(kilobytes) else {
      throw TestBedError(code: .malformed, message: "cannot tell the size of \(tree)")
    }
    try await Command.run(
      "mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-d", tree,
      directory + "/disk", "\(size + size / 8 + 8192)K")
    try await Command.run("rm", "-rf", tree)
    return Drive(directory + "/disk", readOnly: true)
  }

  func arguments(number: Int) -> [String] {
    let access = readOnly ? "on" : "off"
    return [
      // What is on it need not survive the lab.
      "-drive",
      "if=none,id=drive\(number),file=\(path),format=\(format),readonly=\(access),cache=unsafe",
      "-device", "virtio-blk-pci,drive=drive\(number)",
    ]
  }
}
