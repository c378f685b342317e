import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem
import SuspendToSwap
import Testing

/// A QEMU without a machine, in a memory control group of its own, that does nothing but hold RAM as a
/// guest's is held; filled with random bytes. Ended, with its group, when this goes away.
final class HeldMemory: Sendable {
  static let size = 64 << 20

  let process: ProcessHandle
  let group: MemoryControlGroup
  /// The RAM's memfd.
  let memory: OwnedFileDescriptor

  /// - Parameter options: added to `memory-backend-memfd`.
  init(options: String = "prealloc=on", filled: Bool = true, locked: Bool = false) async throws {
    let size = Self.size
    let hierarchy = try MemoryControlGroup.detect()
    group = try hierarchy.create(
      at: "dormouse-test-\(getpid())-\(UInt32.random(in: .min ... .max))")
    process = try ProcessHandle(
      opening: try launchDetached(
        LaunchConfiguration(
          executable: Self.qemu,
          arguments: [
            "-machine", "none", "-nodefaults", "-display", "none", "-S", "-object",
            "memory-backend-memfd,id=ram0,size=\(size),share=on,\(options)",
          ] + (locked ? ["-overcommit", "mem-lock=on"] : []),
          descriptors: [2: STDERR_FILENO], controlGroupProcessFiles: [group.processFile])))
    memory = try await Self.memfd(of: process)
    guard filled else { return }
    // Written by another process of the group, to pages that QEMU has touched already: they stay in QEMU's
    // page table and are charged to the group, as a guest's are.
    try await shell("head -c \(size) /dev/urandom 1<>/proc/self/fd/3")
    try #require(try Residency.cachedBytes(of: memory.rawValue) == UInt64(size))
  }

  /// Makes a part of the RAM as if it had never been written.
  func punchHole(at offset: Int, bytes: Int) async throws {
    try await shell(
      "fallocate --punch-hole --offset \(offset) --length \(bytes) /proc/self/fd/3")
  }

  /// Runs a command in the group, with the RAM as descriptor 3.
  private func shell(_ command: String) async throws {
    let shell = try ProcessHandle(
      opening: try launchDetached(
        LaunchConfiguration(
          executable: "/bin/sh", arguments: ["-c", command],
          environment: ["PATH": "/usr/bin:/bin"], descriptors: [3: memory.rawValue],
          controlGroupProcessFiles: [group.processFile])))
    try #require(try await shell.waitForExit(timeout: .seconds(60)))
    #expect(try shell.reap() == .exited(0))
  }

  func guestMemory(expectedBytes: Int = HeldMemory.size) throws -> GuestMemory {
    try GuestMemory(of: process, expectedBytes: UInt64(expectedBytes))
  }

  /// One sum over every byte, which reads all of it back.
  func checksum() throws -> UInt64 {
    var sum: UInt64 = 0
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    for offset in stride(from: 0, to: Self.size, by: chunk.count) {
      let count = pread(memory.rawValue, &chunk, chunk.count, offset)
      try #require(count == chunk.count)
      chunk.withUnsafeBytes { bytes in
        for index in stride(from: 0, to: bytes.count, by: 8) {
          sum = sum &* 31 &+ bytes.load(fromByteOffset: index, as: UInt64.self)
        }
      }
    }
    return sum
  }

  private static var qemu: String {
    get throws {
      for directory in ["/usr/bin", "/usr/local/bin"] {
        let path = directory + "/qemu-system-x86_64"
        if access(path, X_OK) == 0 { return path }
      }
      throw LinuxError(code: .notFound, message: "these tests need qemu-system-x86_64")
    }
  }

  /// Waits until QEMU has made its memory.
  private static func memfd(of process: borrowing ProcessHandle) async throws -> OwnedFileDescriptor
  {
    let pid = process.identity.pid
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      let mapped = try MemoryMap.read(pid: pid).contains {
        $0.path.contains("memory-backend-memfd")
      }
      let held = try ProcessInspection.descriptors(of: pid)
        .first { $0.target.contains("memory-backend-memfd") }
      // Asleep in its main loop: preallocation and locking are over.
      if mapped, let held, try KernelFile.text("/proc/\(pid)/wchan").contains("poll") {
        return try process.duplicateDescriptor(held.number)
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw LinuxError(code: .exhausted, message: "QEMU did not make its memory within 20 seconds")
  }

  deinit {
    try? process.signal(SIGKILL)
    var information = siginfo_t()
    _ = waitid(P_PID, id_t(process.identity.pid), &information, WEXITED)
    try? group.remove()
  }
}
