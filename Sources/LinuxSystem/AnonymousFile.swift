import CLinux
import Glibc

/// Files in memory that have no place in the file system (memfd_create(2)). They last as long as any
/// process has them open or mapped, and can be handed over as descriptors.
public enum AnonymousFile {
  /// A file of zeros, close-on-exec.
  ///
  /// - Parameters:
  ///   - name: shows up in /proc as `/memfd:NAME (deleted)`; at most 249 bytes.
  ///   - size: bytes; memory is only taken as they are written.
  public static func create(
    named name: String, size: UInt64
  ) throws(LinuxError) -> OwnedFileDescriptor {
    let file = OwnedFileDescriptor(
      owning: try checked("make the memory file \(name)", dormouse_memfd_create(name)))
    try checked(
      "size the memory file \(name)", ftruncate(file.rawValue, off_t(clamping: size)))
    return file
  }
}
