import API
import Glibc
import LinuxSystem

/// The copies of what a VM boots from.
package enum BootFile {
  /// More than any kernel or initrd; whoever names something else does not fill the state directory with it.
  static let maximumBytes = 2 << 30

  /// Copies a regular file, or what a symbolic link to one leads to. Blocks for as long as the disks take.
  ///
  /// The copy is readable to all: QEMU opens it once more through its own descriptor, under its own user.
  ///
  /// - Throws: `APIError` `.invalid` that says what is wrong with the source, `LinuxError` when the copy
  ///   cannot be written.
  package static func copy(_ source: String, to target: String) throws {
    // Non-blocking: not to wait for the other end of a FIFO.
    let number = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard number >= 0 else {
      throw APIError(.invalid, "\(source) cannot be opened: \(String(cString: strerror(errno)))")
    }
    let input = OwnedFileDescriptor(owning: number)
    var status = stat()
    try checked("look at \(source)", fstat(input.rawValue, &status))
    guard status.st_mode & S_IFMT == S_IFREG, status.st_size <= maximumBytes else {
      throw APIError(.invalid, "\(source) is not a regular file of at most 2 GiB")
    }
    unlink(target)
    let output = OwnedFileDescriptor(
      owning: try checked(
        "make \(target)", open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)))
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = try checked("read \(source)", read(input.rawValue, &buffer, buffer.count))
      if count == 0 { break }
      var done = 0
      while done < count {
        done += try buffer.withUnsafeBytes { bytes in
          let rest = UnsafeRawBufferPointer(rebasing: bytes[done..<count])
          return try checked(
            "write \(target)", write(output.rawValue, rest.baseAddress, rest.count))
        }
      }
    }
    try checked("set the mode of \(target)", fchmod(output.rawValue, 0o444))
  }
}
