import Glibc
import LinuxSystem

/// Both ends of a pipe(7).
struct Pipe: ~Copyable {
  let read: OwnedFileDescriptor
  let write: OwnedFileDescriptor

  init() throws {
    var ends: [CInt] = [0, 0]
    try checked("make a pipe", pipe(&ends))
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    read = OwnedFileDescriptor(owning: ends[0])
    write = OwnedFileDescriptor(owning: ends[1])
  }

  consuming func takeRead() -> OwnedFileDescriptor { read }
  consuming func takeWrite() -> OwnedFileDescriptor { write }
}
