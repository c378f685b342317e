public import LinuxProcess
import QMP

/// A released version of QEMU.
public struct QEMUVersion: Codable, Sendable, Hashable, Comparable, CustomStringConvertible {
  public let major: Int
  public let minor: Int
  public let micro: Int

  public init(major: Int, minor: Int, micro: Int) {
    self.major = major
    self.minor = minor
    self.micro = micro
  }

  /// The first one that can hand a running machine to another process without copying its memory, and
  /// with it all that ``MachineCommandLine`` asks for.
  public static let minimum = QEMUVersion(major: 10, minor: 0, micro: 0)

  public static func < (left: QEMUVersion, right: QEMUVersion) -> Bool {
    (left.major, left.minor, left.micro) < (right.major, right.minor, right.micro)
  }

  public var description: String { "\(major).\(minor).\(micro)" }
}

/// What the QEMU and the kernel of this host can really do.
public struct QEMUCapabilities: Codable, Sendable, Hashable {
  /// The path of the QEMU that was looked at.
  public let binary: String
  public let version: QEMUVersion
  /// The versioned name of the newest Q35 machine, such as `pc-q35-10.0`.
  public let machineType: String
  /// The best that works.
  public let accelerator: Accelerator
  /// Why that one, for people.
  public let acceleratorReason: String

  public init(
    binary: String, version: QEMUVersion, machineType: String, accelerator: Accelerator,
    acceleratorReason: String
  ) {
    self.binary = binary
    self.version = version
    self.machineType = machineType
    self.accelerator = accelerator
    self.acceleratorReason = acceleratorReason
  }

  /// Asks a QEMU what it is, and tries out whether KVM runs a guest: that /dev/kvm exists and opens does
  /// not say so, in virtual machines above all.
  ///
  /// The answer is kept for as long as this process lives and binary and kernel stay what they are.
  /// Takes some 0.3 s the first time, at most 10 s.
  ///
  /// - Parameter credentials: the user that QEMU will run as; nil for the caller's own.
  /// - Throws: ``QEMUError/Code/binary`` when there is no QEMU there or it does not start,
  ///   ``QEMUError/Code/unsupported`` when it is older than ``QEMUVersion/minimum``.
  public static func probe(
    binary: String, credentials: Credentials? = nil
  ) async throws(QEMUError) -> QEMUCapabilities {
    try await CapabilitiesCache.shared.capabilities(binary: binary, credentials: credentials)
  }
}

extension QEMUCapabilities {
  static func find(
    binary: String, credentials: Credentials?
  ) async throws(QEMUError) -> QEMUCapabilities {
    let identification = ProbeProcess(
      binary: binary, failure: "\(binary) cannot be used", credentials: credentials,
      arguments: ["-machine", "none", "-accel", "tcg"])
    let (greeting, machines) = try await identification.run(deadline: .seconds(5)) {
      monitor throws(QMPError) in
      // Too old a version may not even have the rest.
      let isOld = monitor.greeting.version < .minimum
      return (monitor.greeting, isOld ? [] : try await monitor.queryMachines())
    }
    guard greeting.version >= .minimum else {
      throw QEMUError(
        .unsupported,
        "\(binary) is QEMU \(greeting.version), \(QEMUVersion.minimum) or later is needed. Debian 12 "
          + "has it in its backports: apt install -t bookworm-backports qemu-system-x86")
    }
    guard let machine = machines.first(where: { $0.alias == "q35" }) else {
      throw QEMUError(.unsupported, "\(binary) has no machine of type q35: it is not one for x86")
    }
    let (accelerator, reason) = await KVMProbe.bestAccelerator(
      binary: binary, machineType: machine.name, credentials: credentials)
    return QEMUCapabilities(
      binary: binary, version: greeting.version, machineType: machine.name,
      accelerator: accelerator, acceleratorReason: reason)
  }
}

extension QMPGreeting {
  /// The version of QEMU without what its packager added.
  public var version: QEMUVersion {
    QEMUVersion(major: major, minor: minor, micro: micro)
  }
}
