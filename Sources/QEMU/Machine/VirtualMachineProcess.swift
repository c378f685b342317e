import Glibc
public import LinuxProcess
import LinuxSystem

/// The QEMU process of a machine.
public struct VirtualMachineProcess: Sendable {
  public let identity: ProcessIdentity
  /// What it says on its standard error, to be asked when it does not do as expected.
  public let complaints: Complaints
  /// The taps' numbers in the process, one for each interface.
  public let tapDescriptors: [CInt]
  /// See ``MachineCommandLine/state``.
  public let state: String?

  /// Starts QEMU with a machine that waits, stopped, for `cont`. The process outlives this one.
  ///
  /// Its monitors can be connected to at once: their sockets listen already. The launching process must
  /// reap it, see ``launchDetached(_:)``.
  ///
  /// - Parameters:
  ///   - binary: QEMU's path.
  ///   - resources: /dev/kvm is opened here when it is needed and not given.
  ///   - credentials: the user QEMU runs as; nil for the caller's own.
  ///   - controlGroupProcessFiles: see ``LaunchConfiguration/controlGroupProcessFiles``.
  ///   - incoming: see ``MachineCommandLine/build(_:resources:incoming:)``.
  /// - Throws: ``QEMUError/Code/resources``, ``QEMUError/Code/host``.
  public static func launch(
    binary: String, description: MachineDescription, resources: MachineResources,
    credentials: Credentials? = nil, controlGroupProcessFiles: [String] = [],
    incoming: String? = nil
  ) async throws(QEMUError) -> VirtualMachineProcess {
    if description.accelerator == .kvm, resources.kvm == nil {
      let device = try KVMDevice.open()
      var complete = resources
      complete.kvm = device.rawValue
      let process = try await launch(
        binary: binary, description: description, resources: complete, credentials: credentials,
        controlGroupProcessFiles: controlGroupProcessFiles, incoming: incoming)
      device.close()
      return process
    }
    let commandLine = try MachineCommandLine.build(
      description, resources: resources, incoming: incoming)
    var descriptors = commandLine.descriptors
    let complaints = try Complaints()
    descriptors[2] = complaints.inlet
    let identity = try await start(
      LaunchConfiguration(
        executable: binary, arguments: commandLine.arguments, descriptors: descriptors,
        credentials: credentials, controlGroupProcessFiles: controlGroupProcessFiles))
    return VirtualMachineProcess(
      identity: identity, complaints: complaints, tapDescriptors: commandLine.tapDescriptors,
      state: commandLine.state)
  }

  static func start(
    _ configuration: LaunchConfiguration
  ) async throws(QEMUError) -> ProcessIdentity {
    do {
      return try await onBlockingThread("launch") { try launchDetached(configuration) }
    } catch {
      throw QEMUError(.host, "cannot start \(configuration.executable): \(error)", cause: error)
    }
  }
}

/// The kernel's device for running guests.
enum KVMDevice {
  static func open() throws(QEMUError) -> OwnedFileDescriptor {
    do {
      return OwnedFileDescriptor(
        owning: try checked("open /dev/kvm", Glibc.open("/dev/kvm", O_RDWR | O_CLOEXEC)))
    } catch {
      throw QEMUError(.host, error.message, cause: error)
    }
  }
}
