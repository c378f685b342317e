import Glibc
import LinuxProcess
import LinuxSystem
import Testing

@Suite("Process identity")
struct ProcessIdentityTests {
  @Test func aProcessIsItself() throws {
    let own = try ProcessIdentity.of(pid: getpid())
    #expect(own == (try ProcessIdentity.of(pid: getpid())))
    #expect(own.isAlive)
    #expect(!ProcessIdentity(pid: own.pid, startTime: own.startTime + 1).isAlive)
    let error = #expect(throws: LinuxError.self) { try ProcessIdentity.of(pid: Int32.max) }
    #expect(error?.code == .gone)
  }

  @Test func aZombieIsDead() async throws {
    let child = try Child(shell: "exit 3")
    #expect(try await child.handle.waitForExit(timeout: .seconds(10)))
    // Still there, and still the same process.
    #expect(try ProcessIdentity.of(pid: child.pid) == child.handle.identity)
    #expect(!child.handle.identity.isAlive)
    #expect(try child.handle.reap() == .exited(3))
    #expect(!child.handle.identity.isAlive)
  }

  @Test func theNameOfAProgramCannotForgeItsFields() async throws {
    let directory = try TemporaryDirectory()
    let name = ") R 1 1 1 (x"
    let path = "\(directory.path)/\(name)"
    #expect(symlink("/bin/sleep", path) == 0)
    let child = try Child(LaunchConfiguration(executable: path, arguments: ["60"]))
    #expect(try KernelFile.text("/proc/\(child.pid)/comm") == "\(name)\n")
    let status = try ProcessStatus(pid: child.pid)
    #expect(status.threads == 1)
    #expect(status.startTime >= (try ProcessIdentity.of(pid: getpid()).startTime))
    #expect(child.handle.identity.isAlive)
  }

  @Test(arguments: [
    "", ")", "1 (a) S", "1 (a) S 1 1 1 1 1 1 1 1 1 1 x 1 1 1 1 1 1 0 99 1",
    "1 (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 0 -99 1",
    "1 (a S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 0 99 1",
  ])
  func whatIsNotAStatIsRefused(text: String) {
    #expect(ProcessStatus(parsing: Array(text.utf8)) == nil)
  }

  @Test func aLeaderThatEndedBeforeItsThreadsIsNotDead() {
    let fields = "1 1 1 1 1 1 1 1 1 1 7 8 1 1 1 1 "
    let lonely = ProcessStatus(parsing: Array("1 (a) Z \(fields)1 0 99 1".utf8))
    #expect(lonely?.isDead == true)
    let withThreads = ProcessStatus(parsing: Array("1 (a) Z \(fields)3 0 99 1".utf8))
    #expect(withThreads?.isDead == false)
    #expect(withThreads?.startTime == 99)
    #expect(withThreads?.userTicks == 7)
    #expect(withThreads?.systemTicks == 8)
  }
}
