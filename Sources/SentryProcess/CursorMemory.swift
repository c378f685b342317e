import Glibc
import LinuxSystem
import Seamless

/// The mapped memory of a VM's cursors; the memfd behind it outlives the sentry.
final class CursorMemory {
  let table: CursorTable
  private let memory: OwnedFileDescriptor
  private let bytes: UnsafeMutableRawBufferPointer

  /// The memfd's, kept for a daemon that has lost its own.
  var descriptor: CInt { memory.rawValue }

  /// Maps the whole memfd and reads the table in it.
  init(_ memory: consuming OwnedFileDescriptor) throws {
    var status = stat()
    try checked(fstat(memory.rawValue, &status))
    let size = Int(status.st_size)
    guard size > 0, size <= 16 << 20,
      let address = mmap(
        nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.rawValue, 0), address != MAP_FAILED
    else {
      throw LinuxError(code: .malformed, message: "the memory of the cursors cannot be mapped")
    }
    bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
    self.memory = memory
    do {
      table = try CursorTable(attaching: bytes)
    } catch {
      munmap(address, size)
      throw error
    }
  }

  /// What a table says of the guest itself: addresses, groups, ports. Not its flows.
  var acquaintance: [UInt8] { [UInt8](bytes.prefix(CursorTable.headerBytes)) }

  /// A new machine's table: empty, but for what an earlier one said of the same guest.
  static func renew(
    _ memory: consuming OwnedFileDescriptor, acquaintance: [UInt8]
  ) throws -> CursorMemory {
    let number = memory.rawValue
    let guest = try CursorMemory(try memory.duplicate()).table.guest
    var header = acquaintance
    guard pwrite(number, &header, header.count, 0) == header.count else {
      throw LinuxError(code: .system, message: "the memory of the cursors cannot be written")
    }
    let renewed = try CursorMemory(memory)
    guard renewed.table.guest == guest else {
      throw LinuxError(code: .malformed, message: "the remembered table is another guest's")
    }
    return renewed
  }

  deinit {
    munmap(bytes.baseAddress, bytes.count)
  }
}
