import CLinux
public import Frames
import Glibc
public import LinuxSystem

extension CursorTable {
  /// Makes a memfd with an empty table in it: memory that the daemon keeps while sentries come and go.
  ///
  /// - Throws: `LinuxError`, or ``SeamlessError`` `.cursorMemory`.
  public static func makeMemory(
    for guest: MACAddress, capacity: Int = defaultCapacity
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
    _ = try CursorTable(
      formatting: UnsafeMutableRawBufferPointer(start: address, count: size), guest: guest)
    return memory
  }
}
