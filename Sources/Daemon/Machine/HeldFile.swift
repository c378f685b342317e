import Glibc
import LinuxNetwork
import LinuxSystem

/// An open file that lives as long as somebody refers to it.
final class HeldFile: Sendable {
  private let descriptor: OwnedFileDescriptor

  init(_ path: String, _ flags: CInt) throws {
    let number = open(path, flags | O_CLOEXEC)
    guard number >= 0 else {
      throw DaemonError(
        .startFailed, "cannot open \(path): \(String(cString: strerror(errno)))")
    }
    descriptor = OwnedFileDescriptor(owning: number)
  }

  init(owning descriptor: consuming OwnedFileDescriptor) {
    self.descriptor = descriptor
  }

  var number: CInt { descriptor.rawValue }
}

/// A tap that lives as long as somebody refers to it, or QEMU has it.
final class HeldTap: Sendable {
  private let tap: Tap

  init(_ tap: consuming Tap) {
    self.tap = tap
  }

  var name: String { tap.name }
  var number: CInt { tap.descriptor.rawValue }
}
