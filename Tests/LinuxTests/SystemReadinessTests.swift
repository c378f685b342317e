import Glibc
import LinuxSystem
import SystemPackage
import Testing

@Suite("ReadinessMonitor")
struct SystemReadinessTests {
  private let monitor = ReadinessMonitor.shared

  @Test func aTimeoutIsKept() async throws {
    let pipe = try Pipe()
    let started = ContinuousClock.now
    #expect(
      try await monitor.wait(untilReadable: pipe.reading, timeout: .milliseconds(60)) == false)
    let waited = ContinuousClock.now - started
    #expect(waited >= .milliseconds(60))
    #expect(waited < .seconds(5))
  }

  @Test func dataEndsTheWait() async throws {
    let pipe = try Pipe()
    let writing = pipe.writing
    async let readable = monitor.wait(untilReadable: pipe.reading, timeout: .seconds(10))
    try await Task.sleep(for: .milliseconds(20))
    #expect(Glibc.write(writing, "x", 1) == 1)
    #expect(try await readable)
  }

  @Test func aHangUpEndsTheWait() async throws {
    let pipe = try Pipe()
    pipe.closeWriting()
    #expect(try await monitor.wait(untilReadable: pipe.reading, timeout: nil))
  }

  @Test func zeroOnlyLooks() async throws {
    let pipe = try Pipe()
    #expect(try await monitor.wait(untilReadable: pipe.reading, timeout: .zero) == false)
    #expect(Glibc.write(pipe.writing, "x", 1) == 1)
    #expect(try await monitor.wait(untilReadable: pipe.reading, timeout: .zero))
  }

  @Test func cancellationEndsTheWaitAtOnce() async throws {
    let pipe = try Pipe()
    let reading = pipe.reading
    let waiting = Task { try await monitor.wait(untilReadable: reading, timeout: .seconds(60)) }
    try await Task.sleep(for: .milliseconds(20))
    waiting.cancel()
    await #expect(throws: CancellationError.self) { try await waiting.value }
    let never = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await monitor.wait(untilReadable: reading, timeout: nil)
    }
    await #expect(throws: CancellationError.self) { try await never.value }
    withExtendedLifetime(pipe) {}
  }

  @Test func manyTasksWaitForOneDescriptorAndForManyDeadlines() async throws {
    let pipe = try Pipe()
    let reading = pipe.reading
    let writing = pipe.writing
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for index in 0..<40 {
        let timeout: Duration = index.isMultiple(of: 2) ? .milliseconds(5 + index) : .seconds(30)
        group.addTask { try await monitor.wait(untilReadable: reading, timeout: timeout) }
      }
      var timedOut = 0
      var readable = 0
      while let result = try await group.next() {
        if result { readable += 1 } else { timedOut += 1 }
        if timedOut == 20, readable == 0 { #expect(Glibc.write(writing, "x", 1) == 1) }
      }
      #expect(timedOut == 20)
      #expect(readable == 20)
    }
    withExtendedLifetime(pipe) {}
  }

  @Test func waitsLeaveNoDescriptorBehind() async throws {
    let pipe = try Pipe()
    _ = try await monitor.wait(untilReadable: pipe.reading, timeout: .milliseconds(1))
    var status = stat()
    #expect(fstat(pipe.reading, &status) == 0)
    let inode = status.st_ino
    for _ in 0..<50 {
      _ = try await monitor.wait(untilReadable: pipe.reading, timeout: .nanoseconds(1))
    }
    let same = try KernelFile.names(in: "/proc/self/fd").compactMap(CInt.init).filter {
      var status = stat()
      return fstat($0, &status) == 0 && status.st_ino == inode && status.st_mode & S_IFMT == S_IFIFO
    }
    #expect(same.count == 2, "the pipe's two ends and no duplicate: \(same)")
  }

  @Test func whatCannotBeWaitedForIsAnError() async throws {
    let regular = try TemporaryDirectory()
    let path = "\(regular.path)/file"
    let file = OwnedFileDescriptor(
      owning: try checked("open", Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)))
    let number = file.rawValue
    await #expect(throws: LinuxError.self) {
      try await monitor.wait(untilReadable: number, timeout: .seconds(5))
    }
    await #expect(throws: LinuxError.self) {
      try await monitor.wait(untilReadable: -1, timeout: .seconds(5))
    }
    await #expect(throws: LinuxError.self) {
      try await monitor.wait(untilReadable: -1, timeout: .zero)
    }
    file.close()
  }
}
