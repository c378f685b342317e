public import FoundationEssentials

/// A machine, down to all that its guest can tell apart. Made once, at the machine's first boot, and kept:
/// the same description gives the same hardware in every later QEMU, so that a running guest can move
/// into a new process without noticing.
///
/// What every machine has: RAM in a memfd that other processes may map (`ram0`), no option ROMs,
/// no graphics, PCI devices in fixed slots, a serial console that is kept in 64 KiB of memory (a guest
/// cannot fill a disk with it), the guest agent's channel, a balloon that reports free pages, an entropy
/// source, a device that tells of panics, and no invariant TSC (a clock that leaps over sleep).
public struct MachineDescription: Codable, Sendable, Hashable {
  public let name: String
  /// What the guest sees as its system's UUID.
  public let uuid: UUID
  /// Versioned, such as `pc-q35-10.0`.
  public let machineType: String
  public let accelerator: Accelerator
  /// As QEMU's `-cpu` takes it, features included.
  public let cpuModel: String
  public let memoryBytes: UInt64
  public let cpus: Int
  public let kernel: DirectKernel?
  public let disks: [DiskDescription]
  public let interfaces: [NetworkInterfaceDescription]
  /// Names of all virtio-serial ports, the guest agent's first.
  public let guestChannels: [String]

  /// The port on which qemu-ga listens.
  public static let guestAgentChannel = "org.qemu.guest_agent.0"

  /// PCI slots 0x08 to 0x0f and 0x10 to 0x1d.
  static let maximumInterfaces = 8
  static let maximumDisks = 14
  /// virtio-serial has 31 ports; the first is for consoles.
  static let maximumChannels = 30

  /// Checks a request and settles everything that it left open.
  ///
  /// - Throws: ``QEMUError/Code/invalidMachine`` with the field that is wrong,
  ///   ``QEMUError/Code/unsupported`` when this host cannot run it.
  public static func freeze(
    _ request: MachineRequest, capabilities: QEMUCapabilities
  ) throws(QEMUError) -> MachineDescription {
    let accelerator = request.accelerator ?? capabilities.accelerator
    if accelerator == .kvm, capabilities.accelerator != .kvm {
      throw QEMUError(
        .unsupported,
        "KVM was asked for, but does not work here: \(capabilities.acceleratorReason)")
    }
    try validate(request)
    return MachineDescription(
      name: request.name, uuid: UUID(), machineType: capabilities.machineType,
      accelerator: accelerator, cpuModel: request.cpuModel ?? accelerator.defaultCPUModel,
      memoryBytes: request.memoryBytes, cpus: request.cpus, kernel: request.kernel,
      disks: request.disks, interfaces: request.interfaces,
      guestChannels: [guestAgentChannel] + request.guestChannels)
  }

  /// Checks what was read from a file: whoever has written it, it is a machine that ``freeze(_:capabilities:)``
  /// could have made.
  ///
  /// - Throws: ``QEMUError/Code/invalidMachine`` with the field that is wrong.
  public func validate() throws(QEMUError) {
    guard guestChannels.first == Self.guestAgentChannel, Self.isWord(machineType, upTo: 64) else {
      throw QEMUError(
        .invalidMachine, "there is no channel for a guest agent, or no name of a machine type")
    }
    try Self.validate(
      MachineRequest(
        name: name, memoryBytes: memoryBytes, cpus: cpus, cpuModel: cpuModel, kernel: kernel,
        disks: disks, interfaces: interfaces, guestChannels: [String](guestChannels.dropFirst())))
  }

  private static func validate(_ request: MachineRequest) throws(QEMUError) {
    func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(QEMUError) {
      if !holds { throw QEMUError(.invalidMachine, message()) }
    }
    try check(
      isWord(request.name, upTo: 64),
      "the name must be 1 to 64 letters, digits, \"-\", \"_\" or \".\"")
    let mebibyte: UInt64 = 1 << 20
    try check(
      request.memoryBytes >= 16 * mebibyte && request.memoryBytes <= 1 << 44
        && request.memoryBytes.isMultiple(of: mebibyte),
      "the memory must be a whole number of MiB, from 16 MiB to 16 TiB")
    try check((1...255).contains(request.cpus), "the number of CPUs must be from 1 to 255")
    if let model = request.cpuModel {
      try check(
        !model.isEmpty && model.utf8.count <= 2048
          && model.utf8.allSatisfy { isWordByte($0) || ",=+".utf8.contains($0) },
        "the CPU model \"\(model)\" has characters that occur in none")
      try check(
        !model.split(separator: ",").contains { $0.hasPrefix("+invtsc") || $0.hasPrefix("invtsc") },
        "an invariant TSC is not possible: the guest's clock would leap over each sleep")
    }
    if let kernel = request.kernel {
      try check(!kernel.kernel.isEmpty, "the kernel's path is empty")
      try check(
        kernel.commandLine.utf8.count <= 2047
          && kernel.commandLine.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f },
        "the kernel's command line must be one line of at most 2047 bytes")
    }
    try check(
      request.disks.count <= maximumDisks, "there may be at most \(maximumDisks) disks")
    for disk in request.disks {
      try check(!disk.path.isEmpty, "a disk's path is empty")
      try check(
        disk.serial.map { isWord($0, upTo: 20) } ?? true,
        "a disk's serial number must be at most 20 letters, digits, \"-\", \"_\" or \".\"")
    }
    try check(
      request.interfaces.count <= maximumInterfaces,
      "there may be at most \(maximumInterfaces) network interfaces")
    for interface in request.interfaces {
      try check(
        isUnicastMAC(interface.macAddress),
        "\"\(interface.macAddress)\" is not the MAC address of an interface: six bytes in lower "
          + "case such as 52:54:00:12:34:56, the first one even")
    }
    let addresses = request.interfaces.map(\.macAddress)
    try check(Set(addresses).count == addresses.count, "a MAC address occurs twice")
    let channels = [guestAgentChannel] + request.guestChannels
    try check(
      channels.count <= maximumChannels && channels.allSatisfy { isWord($0, upTo: 64) },
      "there may be at most \(maximumChannels - 1) guest channels, each named with 1 to 64 letters, "
        + "digits, \"-\", \"_\" or \".\"")
    try check(Set(channels).count == channels.count, "a guest channel's name occurs twice")
  }

  private static func isWord(_ text: String, upTo length: Int) -> Bool {
    !text.isEmpty && text.utf8.count <= length && text.utf8.allSatisfy(isWordByte)
  }

  private static func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
      UInt8(ascii: "."):
      true
    default:
      false
    }
  }

  private static func isUnicastMAC(_ text: String) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let bytes = parts.compactMap { part in
      part.utf8.count == 2 && part.utf8.allSatisfy("0123456789abcdef".utf8.contains)
        ? UInt8(part, radix: 16) : nil
    }
    guard parts.count == 6, bytes.count == 6 else { return false }
    return bytes[0].isMultiple(of: 2) && bytes.contains { $0 != 0 }
  }
}
