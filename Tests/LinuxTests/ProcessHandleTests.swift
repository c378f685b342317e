import Glibc
import LinuxProcess
import LinuxSystem
import SystemPackage
import Testing

@Suite("Process handles")
struct ProcessHandleTests {
  @Test func aHandleIsOnlyOpenedForTheVeryProcess() throws {
    let own = try ProcessIdentity.of(pid: getpid())
    let handle = try ProcessHandle(opening: own)
    try handle.signal(0)
    let later = ProcessIdentity(pid: own.pid, startTime: own.startTime + 1)
    let error = #expect(throws: LinuxError.self) { _ = try ProcessHandle(opening: later) }
    #expect(error?.code == .gone)
  }

  @Test func waitingSignallingAndReaping() async throws {
    let child = try Child(shell: "exec sleep 60")
    #expect(try await child.handle.waitForExit(timeout: .milliseconds(20)) == false)
    #expect(try child.handle.reap() == nil)
    try child.handle.signal(SIGTERM)
    #expect(try await child.handle.waitForExit(timeout: .seconds(10)))
    #expect(try child.handle.reap() == .signaled(SIGTERM, coreDumped: false))
    do {
      try child.handle.signal(SIGTERM)
      Issue.record("a reaped process took a signal")
    } catch {
      #expect(error.code == .gone)
    }
    // Already reaped: no longer a child.
    #expect(try child.handle.reap() == nil)
  }

  @Test func aHandleOutlivesTheReuseOfItsNumber() async throws {
    let child = try Child(shell: "exit 0")
    let identity = child.handle.identity
    #expect(try await child.end() == .exited(0))
    let error = #expect(throws: LinuxError.self) { _ = try ProcessHandle(opening: identity) }
    #expect(error?.code == .gone)
  }

  @Test func othersAreWaitedForButNotReaped() async throws {
    let parent = try ProcessHandle(opening: try ProcessIdentity.of(pid: getppid()))
    #expect(try parent.reap() == nil)
    #expect(try await parent.waitForExit(timeout: .zero) == false)
  }

  @Test func aDescriptorIsFetchedFromAnotherProcess() async throws {
    let pipe = try Pipe()
    let child = try Child(shell: "exec sleep 60", descriptors: [7: pipe.writing])
    let copy = try child.handle.duplicateDescriptor(7)
    #expect(fcntl(copy.rawValue, F_GETFD) & FD_CLOEXEC != 0)
    #expect(write(copy.rawValue, "x", 1) == 1)
    var byte: UInt8 = 0
    #expect(read(pipe.reading, &byte, 1) == 1)
    #expect(byte == UInt8(ascii: "x"))
    do {
      _ = try child.handle.duplicateDescriptor(8)
      Issue.record("a descriptor out of nothing")
    } catch {
      #expect(error.errno == .badFileDescriptor)
    }
  }

  @Test func theDescriptorsOfAProcessAreListed() async throws {
    let pipe = try Pipe()
    let child = try Child(shell: "exec sleep 60", descriptors: [7: pipe.writing])
    try await child.untilRunning("sleep")
    let listed = try ProcessInspection.descriptors(of: child.pid)
    #expect(listed.map(\.number) == [0, 1, 2, 7])
    #expect(listed.prefix(3).allSatisfy { $0.target == "/dev/null" })
    #expect(listed.last?.target.hasPrefix("pipe:[") == true)
    let error = #expect(throws: LinuxError.self) {
      _ = try ProcessInspection.descriptors(of: Int32.max)
    }
    #expect(error?.code == .gone)
  }

  @Test func theTimeOfAThreadOnTheCPUGrowsWithItsWork() async throws {
    let child = try Child(shell: "while :; do :; done")
    let pid = child.pid
    let before = try ProcessInspection.threadCPUTime(pid: pid, tid: pid)
    // Wall time that a busy machine may take for 50 ms of CPU time.
    let deadline = ContinuousClock.now + .seconds(20)
    var after = before
    while after - before < .milliseconds(50), ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(10))
      after = try ProcessInspection.threadCPUTime(pid: pid, tid: pid)
    }
    #expect(after - before >= .milliseconds(50))

    let idle = try Child(shell: "exec sleep 60")
    let still = try ProcessInspection.threadCPUTime(pid: idle.pid, tid: idle.pid)
    #expect(still < .seconds(1))
    let error = #expect(throws: LinuxError.self) {
      try ProcessInspection.threadCPUTime(pid: pid, tid: Int32.max)
    }
    #expect(error?.code == .gone)
  }
}
