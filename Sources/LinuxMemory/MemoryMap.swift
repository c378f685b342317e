public import LinuxSystem

/// One mapping of a process's address space: a line of /proc/PID/maps (proc(5)).
public struct MemoryMapping: Hashable, Sendable {
  /// First address.
  public let start: UInt
  /// First address after it.
  public let end: UInt
  public let readable: Bool
  public let writable: Bool
  public let executable: Bool
  /// Shared with whoever else maps the file, as opposed to private.
  public let shared: Bool
  /// Where in the file it begins, in bytes.
  public let offset: UInt64
  /// The file's device as `major:minor` in hexadecimal; `00:00` without a file.
  public let device: String
  /// The file's inode; 0 without a file.
  public let inode: UInt64
  /// The file, or a name such as `[heap]`; empty for plain anonymous memory. A removed file has
  /// ` (deleted)` at its end.
  public let path: String

  /// Bytes.
  public var size: UInt { end - start }
}

/// The address space of a process.
public enum MemoryMap {
  /// Mappings beyond this are an error: the kernel's own limit is about as large (vm.max_map_count).
  public static let maximumMappings = 65_536
  /// A line holds a path of up to 4096 bytes, in which each newline is written as four.
  static let maximumLineBytes = 20_480
  static let maximumBytes = 64 << 20

  /// Reads a process's mappings, in the order of their addresses.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process, ``LinuxError/Code/malformed`` when
  ///   the list is not of the form that proc(5) gives or too long.
  public static func read(pid: Int32) throws(LinuxError) -> [MemoryMapping] {
    let path = "/proc/\(pid)/maps"
    do throws(LinuxError) {
      return try parse(try KernelFile.bytes(path, limit: maximumBytes), named: path)
    } catch  where error.code == .notFound {
      throw LinuxError(code: .gone, message: "there is no process \(pid)", errno: error.errno)
    }
  }

  package static func parse(
    _ bytes: [UInt8], named name: String = "maps"
  ) throws(LinuxError) -> [MemoryMapping] {
    var mappings: [MemoryMapping] = []
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      guard line.count <= maximumLineBytes, let mapping = MemoryMapping(parsing: line) else {
        throw LinuxError(
          code: .malformed, message: "\(name) has a line that is not of the form of proc(5)")
      }
      guard mappings.count < maximumMappings else {
        throw LinuxError(
          code: .malformed, message: "\(name) has more than \(maximumMappings) mappings")
      }
      mappings.append(mapping)
    }
    return mappings
  }
}

extension MemoryMapping {
  /// `start-end perms offset device inode   path`
  init?(parsing line: ArraySlice<UInt8>) {
    let space = UInt8(ascii: " ")
    let fields = line.split(
      separator: space, maxSplits: 5, omittingEmptySubsequences: false)
    guard fields.count >= 5 else { return nil }
    let addresses = fields[0].split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    let permissions = Array(fields[1])
    guard addresses.count == 2, permissions.count == 4,
      let start = Self.hexadecimal(addresses[0]), let end = Self.hexadecimal(addresses[1]),
      start < end, let offset = Self.hexadecimal(fields[2]),
      let inode = UInt64(String(decoding: fields[4], as: UTF8.self)),
      Self.isDevice(fields[3])
    else { return nil }
    self.start = UInt(start)
    self.end = UInt(end)
    readable = permissions[0] == UInt8(ascii: "r")
    writable = permissions[1] == UInt8(ascii: "w")
    executable = permissions[2] == UInt8(ascii: "x")
    shared = permissions[3] == UInt8(ascii: "s")
    self.offset = offset
    device = String(decoding: fields[3], as: UTF8.self)
    self.inode = inode
    // Padding in front of the path; spaces inside and after belong to it.
    path = fields.count < 6 ? "" : String(decoding: fields[5].drop { $0 == space }, as: UTF8.self)
  }

  private static func hexadecimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
    guard !digits.isEmpty, digits.count <= 16 else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        value = value << 4 | UInt64(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"):
        value = value << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
      default: return nil
      }
    }
    return value
  }

  private static func isDevice(_ field: ArraySlice<UInt8>) -> Bool {
    let parts = field.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    return parts.count == 2 && parts.allSatisfy { hexadecimal($0) != nil }
  }
}
