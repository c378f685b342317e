import Glibc
import LinuxSystem

/// A small file in memory, without a name. A child that inherits it may open it again by /proc/self/fd to
/// read it, whoever it runs as.
struct MemoryFile: ~Copyable {
  private let file: OwnedFileDescriptor

  init(content: [UInt8] = []) throws(QEMUError) {
    do throws(LinuxError) {
      self.init(file: try MemoryFile.make(content))
    } catch {
      throw QEMUError(.host, error.message, cause: error)
    }
  }

  private init(file: consuming OwnedFileDescriptor) {
    self.file = file
  }

  private static func make(_ content: [UInt8]) throws(LinuxError) -> OwnedFileDescriptor {
    // shm_open(3) and not memfd_create(2), which Swift cannot see. Close-on-exec by itself.
    let name = "/qemu-\(UInt64.random(in: 0 ... .max))"
    let number = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
    let file = OwnedFileDescriptor(owning: try checked("make a file in memory", number))
    shm_unlink(name)
    try checked("make a file in memory readable", fchmod(file.rawValue, 0o644))
    if !content.isEmpty {
      try checked("fill a file in memory", pwrite(file.rawValue, content, content.count, 0))
    }
    return file
  }

  var descriptor: CInt { file.rawValue }

  consuming func close() {}
}
