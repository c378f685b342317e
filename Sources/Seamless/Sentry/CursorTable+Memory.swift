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
    let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.rawValue, 0)
    guard let address, address != MAP_FAILED else {
      throw LinuxError(code: .exhausted, message: "the memory of the cursors cannot be mapped")
    }
    defer { munmap(address, size) }
    let bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
    if let acquaintance, acquaintance.count == headerBytes {
      bytes.copyBytes(from: acquaintance)
      if let table = try? CursorTable(attaching: bytes), table.guest == guest { return memory }
    }
    _ = try CursorTable(formatting: bytes, guest: guest)
    return memory
  }

  /// What the table in this memory says of the guest itself: addresses, groups, ports. Not its flows.
  public static func acquaintance(in memory: borrowing OwnedFileDescriptor) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: headerBytes)
    return pread(memory.rawValue, &bytes, bytes.count, 0) == bytes.count ? bytes : nil
  }
}
