import Glibc
import LinuxSystem
import Seamless

/// The mapped memory of a VM's cursors; the memfd behind it outlives the sentry, as the daemon has it too.
///
/// The mapping is all that is kept: a descriptor for each of thousands of VMs would be one too many.
final class CursorMemory {
  let table: CursorTable
  private let mapping: MappedFile

  /// Where it is mapped, for a daemon that has lost its own descriptor.
  var addresses: Range<UInt64> { mapping.addresses }

  /// Maps the whole memfd and reads the table in it.
  init(_ memory: borrowing OwnedFileDescriptor) throws {
    var status = stat()
    try checked(fstat(memory.rawValue, &status))
    guard status.st_size > 0, status.st_size <= 16 << 20 else {
      throw LinuxError(
        code: .malformed, message: "the memory of the cursors has a size that is none")
    }
    mapping = try MappedFile(
      memory.rawValue, "the memory of the cursors", size: UInt64(status.st_size), for: .writing)
    table = try CursorTable(attaching: mapping.bytes)
  }

  /// What a table says of the guest itself: addresses, groups, ports. Not its flows.
  var acquaintance: [UInt8] { [UInt8](mapping.bytes.prefix(CursorTable.headerBytes)) }

  /// A new machine's table: empty, but for what an earlier one said of the same guest.
  static func renew(
    _ memory: borrowing OwnedFileDescriptor, acquaintance: [UInt8]
  ) throws -> CursorMemory {
    let guest = try CursorMemory(memory).table.guest
    var header = CursorTable.withoutFlows(acquaintance)
    guard pwrite(memory.rawValue, &header, header.count, 0) == header.count else {
      throw LinuxError(code: .system, message: "the memory of the cursors cannot be written")
    }
    let renewed = try CursorMemory(memory)
    guard renewed.table.guest == guest else {
      throw LinuxError(code: .malformed, message: "the remembered table is another guest's")
    }
    return renewed
  }
}
