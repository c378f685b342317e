/// A Linux kernel that QEMU loads itself.
public struct DirectKernel: Codable, Sendable, Hashable {
  public var kernel: String
  public var initrd: String?
  public var commandLine: String

  public init(kernel: String, initrd: String? = nil, commandLine: String = "") {
    self.kernel = kernel
    self.initrd = initrd
    self.commandLine = commandLine
  }
}

/// How a disk's bytes are laid out in its file.
public enum DiskFormat: String, Codable, Sendable, Hashable {
  case raw
  case qcow2
}

/// A disk of a machine.
public struct DiskDescription: Codable, Sendable, Hashable {
  public var path: String
  /// Never guessed again once a guest has written to the disk: it can make a raw one look like a qcow2.
  public var format: DiskFormat
  public var readOnly: Bool
  /// What the guest sees as the disk's serial number: at most 20 letters, digits, `-`, `_` or `.`.
  public var serial: String?

  public init(path: String, format: DiskFormat, readOnly: Bool = false, serial: String? = nil) {
    self.path = path
    self.format = format
    self.readOnly = readOnly
    self.serial = serial
  }
}

/// A network interface of a machine, on a tap of the host.
public struct NetworkInterfaceDescription: Codable, Sendable, Hashable {
  /// Six bytes in hexadecimal with colons, lower case; a unicast address.
  public var macAddress: String

  public init(macAddress: String) {
    self.macAddress = macAddress
  }
}
