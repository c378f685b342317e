import FoundationEssentials
import Glibc

/// A block device of the machine's, made for a test to swap to, before all other swap. The lab's end removes
/// those that a test has left.
public struct SwapDevice: Sendable {
  /// What the device is.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Compressed memory.
    case zram
    /// A file as a disk.
    case loop
  }

  public let kind: Kind
  /// Such as `zram1`.
  public let name: String

  private let lab: Lab

  /// Its node.
  public var path: String { "/dev/\(name)" }

  /// Makes a device; it is not active yet.
  ///
  /// - Throws: ``TestBedError/Code/command`` with the reason on kernels that have no such devices.
  public init(_ kind: Kind, in lab: Lab, megabytes: Int) async throws {
    let name =
      switch kind {
      case .zram: try await Self.addCompressedMemory(in: lab, megabytes: megabytes)
      case .loop: try await Self.addLoop(in: lab, megabytes: megabytes)
      }
    self.kind = kind
    self.lab = lab
    self.name = name
    try await Command.run("mkswap", path)
  }

  private static func addCompressedMemory(in lab: Lab, megabytes: Int) async throws -> String {
    let control = "/sys/class/zram-control/hot_add"
    if access(control, R_OK) != 0 { try await Command.run("modprobe", "zram") }
    // Reading it makes a device.
    let name = "zram" + (try await Command.run("cat", control)).filter(\.isNumber)
    try note(name, in: lab)
    try await Command.run(
      "sh", "-c", "echo $1 >/sys/block/$2/disksize", "sh", "\(megabytes)M", name)
    return name
  }

  private static func addLoop(in lab: Lab, megabytes: Int) async throws -> String {
    let file = "\(lab.directory)/disk\(Lab.nextNumber())"
    try await Command.run("install", "-m", "0600", "/dev/null", file)
    try await Command.run("fallocate", "--length", "\(megabytes)MiB", file)
    let node = try await Command.run("losetup", "--find", "--show", file)
    // From here on the device alone has it.
    unlink(file)
    let name = String(node.split(separator: "\n")[0].dropFirst("/dev/".count))
    try note(name, in: lab)
    return name
  }

  /// For the lab's janitor.
  private static func mark(_ name: String, in lab: Lab) -> String {
    "\(lab.directory)/device-\(name)"
  }

  private static func note(_ name: String, in lab: Lab) throws {
    try Data().write(to: URL(filePath: mark(name, in: lab)))
  }

  /// Makes it active, before all other swap.
  public func activate() async throws {
    try await Command.run("swapon", "--priority", "32767", path)
  }

  /// Brings what it holds back to memory, and removes it.
  public func remove() async throws {
    if try await Command.run("cat", "/proc/swaps").contains(path + " ") {
      try await Command.run("swapoff", path, deadline: .seconds(120))
    }
    switch kind {
    case .zram:
      try await Command.run(
        "sh", "-c", "echo ${1#zram} >/sys/class/zram-control/hot_remove", "sh", name)
    case .loop:
      try await Command.run("losetup", "--detach", path)
    }
    unlink(Self.mark(name, in: lab))
  }

  /// What its contents take of the host's memory, in bytes (the third number of zram's `mm_stat`).
  public func poolBytes() async throws -> UInt64 {
    guard kind == .zram else { return 0 }
    let text = try await Command.run("cat", "/sys/block/\(name)/mm_stat")
    let fields = text.split(whereSeparator: \.isWhitespace)
    guard fields.count >= 3, let bytes = UInt64(fields[2]) else {
      throw TestBedError(code: .malformed, message: "mm_stat of \(name): \(text)")
    }
    return bytes
  }

  /// What of it is in use, in bytes (/proc/swaps).
  public func usedBytes() async throws -> UInt64 {
    for line in try await Command.run("cat", "/proc/swaps").split(separator: "\n") {
      let fields = line.split(whereSeparator: \.isWhitespace)
      if fields.count == 5, fields[0] == path { return (UInt64(fields[3]) ?? 0) << 10 }
    }
    throw TestBedError(code: .malformed, message: "\(path) is no active swap")
  }
}
