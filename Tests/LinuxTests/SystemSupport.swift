import Glibc
import LinuxSystem

/// A pipe whose ends close with it.
final class Pipe: Sendable {
  let reading: CInt
  let writing: CInt

  init() throws {
    var ends: [CInt] = [-1, -1]
    try checked("pipe", pipe(&ends))
    for end in ends { try checked("fcntl", fcntl(end, F_SETFD, FD_CLOEXEC)) }
    reading = ends[0]
    writing = ends[1]
  }

  /// The writing end becomes /dev/null, so that its number stays taken until the end.
  func closeWriting() {
    let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
    dup2(null, writing)
    _ = fcntl(writing, F_SETFD, FD_CLOEXEC)
    close(null)
  }

  /// All bytes until the last writer has closed.
  func text() async throws -> String {
    closeWriting()
    let reading = reading
    return try await onBlockingThread {
      var bytes: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 4_096)
      while true {
        let count = try checked("read", read(reading, &chunk, chunk.count))
        if count == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += chunk[..<count]
      }
    }
  }

  deinit {
    close(reading)
    close(writing)
  }
}

/// A directory of its own, removed at the end with the files and the directories in it.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    // Not $TMPDIR, which may be long: a socket's path has 107 bytes.
    var template = Array("/tmp/dormouse-test-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else {
      throw LinuxError("mkdtemp", .init(rawValue: errno))
    }
    path = String(cString: made)
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    if rmdir(path) == 0 || unlink(path) == 0 { return }
    for name in (try? KernelFile.names(in: path)) ?? [] { remove("\(path)/\(name)") }
    rmdir(path)
  }
}

/// Closes what a test holds as plain numbers.
func closeAll(_ descriptors: [CInt]) {
  for descriptor in descriptors { close(descriptor) }
}
