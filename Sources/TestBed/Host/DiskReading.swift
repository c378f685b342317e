import Glibc
import LinuxSystem

/// How fast the disk below a lab gives back what was written to it.
public enum DiskReading {
  private static let block = 4 << 20
  /// O_DIRECT of x86-64, which the C library shows to those only who ask for its extensions.
  private static let direct: CInt = 0o40000

  /// Writes a file of random content beside the lab's swap file, and reads it from its start to its end,
  /// past the page cache.
  ///
  /// Not the swap file itself: its file system takes it for never written, and makes up zeros without
  /// asking the disk.
  ///
  /// - Returns: the time of the reading.
  public static func sequential(megabytes: Int, in lab: Lab) async throws -> Duration {
    let path = try lab.makeDirectory("reading") + "/file"
    return try await onBlockingThread("disk") {
      defer { unlink(path) }
      var buffer: UnsafeMutableRawPointer?
      guard posix_memalign(&buffer, 4096, block) == 0, let buffer else {
        throw TestBedError(code: .malformed, message: "no memory to read into")
      }
      defer { free(buffer) }
      let written = OwnedFileDescriptor(
        owning: try checked("make \(path)", open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)))
      for _ in 0..<(megabytes << 20 / block) {
        for start in stride(from: 0, to: block, by: 256) { getentropy(buffer + start, 256) }
        let count = try checked("write \(path)", write(written.rawValue, buffer, block))
        guard count == block else { throw TestBedError(code: .malformed, message: "a short write") }
      }
      try checked("write \(path) to the disk", fsync(written.rawValue))
      let file = OwnedFileDescriptor(
        owning: try checked("open \(path)", open(path, O_RDONLY | O_CLOEXEC | direct)))
      let clock = ContinuousClock()
      let start = clock.now
      while try checked("read \(path)", read(file.rawValue, buffer, block)) > 0 {}
      return clock.now - start
    }
  }
}
