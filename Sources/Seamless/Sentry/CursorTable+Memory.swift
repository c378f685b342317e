import CLinux
public import Frames
import Glibc
public import LinuxSystem

extension CursorTable {
  /// Makes a memfd with an empty table in it: memory that the daemon keeps while sentries come and go.
  ///
  /// - Parameter acquaintance: what ``acquaintance(in:)`` gave for an earlier table of the same guest; of
  ///   another one, or another release, it is left aside.
  /// - Throws: `LinuxError`, or ``SeamlessError`` `.cursorMemory`.
  public static func makeMemory(
    for guest: MACAddress, capacity: Int = defaultCapacity, acquaintance: [UInt8]? = nil
  ) throws -> OwnedFileDescriptor {
    let memory = OwnedFileDescriptor(
      owning: try checked(
        "make the memory of the cursors", dormouse_memfd_create("dormouse-cursors")))
    let size = byteCount(capacity: capacity)
    try checked("size the memory of the cursors", ftruncate(memory.rawValue, size))
    let mapping = try MappedFile(
      memory.rawValue, "the memory of the cursors", size: UInt64(size), for: .writing)
    let bytes = mapping.bytes
    if let acquaintance, acquaintance.count == headerBytes {
      bytes.copyBytes(from: withoutFlows(acquaintance))
      if let table = try? CursorTable(attaching: bytes), table.guest == guest { return memory }
      // The only page that is not zero any more.
      bytes.copyBytes(from: [UInt8](repeating: 0, count: headerBytes))
    }
    _ = try CursorTable(formatting: bytes, guest: guest, isZero: true)
    return memory
  }

  /// The memory that a process has mapped there (proc(5), /proc/PID/map_files); needs CAP_SYS_ADMIN. The
  /// process is not asked: its name for a mapping that is none of these is refused.
  public static func openMemory(
    of process: Int32, at addresses: Range<UInt64>
  ) throws -> OwnedFileDescriptor {
    let name =
      String(addresses.lowerBound, radix: 16) + "-" + String(addresses.upperBound, radix: 16)
    let path = "/proc/\(process)/map_files/\(name)"
    let memory = OwnedFileDescriptor(
      owning: try checked("open \(path)", dormouse_open(path, O_RDWR, 0)))
    var status = stat()
    try checked("look at \(path)", fstat(memory.rawValue, &status))
    guard status.st_nlink == 0, status.st_size == Int64(addresses.count) else {
      throw LinuxError(code: .malformed, message: "\(path) is no memory of cursors")
    }
    return memory
  }

  /// What the table in this memory says of the guest itself: addresses, groups, ports. Not its flows.
  public static func acquaintance(in memory: borrowing OwnedFileDescriptor) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: headerBytes)
    return pread(memory.rawValue, &bytes, bytes.count, 0) == bytes.count ? bytes : nil
  }
  /// An acquaintance for memory whose slots are empty: it says of no region that it was used.
  public static func withoutFlows(_ acquaintance: [UInt8]) -> [UInt8] {
    var bytes = acquaintance
    for offset in regionsOffset..<regionsOffset + 8 where bytes.indices.contains(offset) {
      bytes[offset] = 0
    }
    return bytes
  }
}
