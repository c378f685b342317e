/// How QEMU is told what a machine is: its arguments, and the descriptors that they speak of.
public struct MachineCommandLine: Sendable, Hashable {
  /// Without the name of the program.
  public let arguments: [String]
  /// Which of this process's descriptors QEMU is to inherit, by the number that they have there.
  public let descriptors: [CInt: CInt]
  /// The taps' numbers in QEMU, one for each interface.
  public let tapDescriptors: [CInt]
  /// How QEMU calls ``MachineResources/state``, for ``QMPClient/loadState(from:deadline:)``.
  public let state: String?

  /// The character device of the serial console, for ``QMPClient/ringbufRead(device:size:deadline:)``.
  public static let console = "console"
  /// How much of the console's output is kept, the newest. In bytes.
  public static let consoleBytes = 65_536

  /// Writes the command line of a machine that waits, stopped, for `cont`.
  ///
  /// - Parameter incoming: what to wait for instead of booting: `defer` for a machine that is to
  ///   receive a state by `migrate-incoming`, as one does that is given a state to continue from.
  /// - Throws: ``QEMUError/Code/resources`` when there is not exactly one descriptor for each part.
  public static func build(
    _ machine: MachineDescription, resources: MachineResources, incoming: String? = nil
  ) throws(QEMUError) -> MachineCommandLine {
    try check(resources, against: machine)
    var builder = CommandLineBuilder()
    builder.addMachine(machine, kvm: resources.kvm)
    builder.addMonitors(resources.monitors)
    builder.addFixedDevices()
    builder.addGuestChannels(machine.guestChannels, sockets: resources.guestChannels)
    let taps = builder.addInterfaces(machine.interfaces, taps: resources.taps)
    builder.addDisks(machine.disks, files: resources.disks)
    if let kernel = machine.kernel, let file = resources.kernel {
      builder.addKernel(kernel, file: file, initrd: resources.initrd)
    }
    let state = resources.state.map { builder.addState($0) }
    if let incoming = incoming ?? state.map({ _ in "defer" }) {
      builder.add("-incoming", [.value(incoming)])
    }
    return MachineCommandLine(
      arguments: builder.arguments, descriptors: builder.descriptors, tapDescriptors: taps,
      state: state)
  }

  private static func check(
    _ resources: MachineResources, against machine: MachineDescription
  ) throws(QEMUError) {
    func check(_ holds: Bool, _ message: String) throws(QEMUError) {
      if !holds { throw QEMUError(.resources, message) }
    }
    try check(!resources.monitors.isEmpty, "a machine needs a socket for at least one monitor")
    try check(
      resources.guestChannels.count == machine.guestChannels.count,
      "a machine needs one socket for each guest channel")
    try check(
      resources.taps.count == machine.interfaces.count,
      "a machine needs one tap for each network interface")
    try check(
      resources.disks.count == machine.disks.count, "a machine needs one open file for each disk")
    try check(
      (resources.kernel != nil) == (machine.kernel != nil)
        && (resources.initrd != nil) == (machine.kernel?.initrd != nil),
      "kernel and initrd must be open exactly if the machine has them")
    try check(
      (resources.kvm != nil) == (machine.accelerator == .kvm),
      "/dev/kvm must be open exactly if the machine runs on KVM")
  }
}
