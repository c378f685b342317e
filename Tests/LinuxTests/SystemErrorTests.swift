import Glibc
import LinuxSystem
import SystemPackage
import Testing

@Suite("LinuxError")
struct SystemErrorTests {
  @Test(arguments: [
    (Errno.noSuchFileOrDirectory, LinuxError.Code.notFound),
    (.noFunction, .unsupported),
    (.noSpace, .exhausted),
    (.resourceTemporarilyUnavailable, .exhausted),
    (.noSuchProcess, .gone),
    (.connectionRefused, .gone),
    (.permissionDenied, .system),
  ])
  func theCodeFollowsFromTheErrorNumber(number: Errno, code: LinuxError.Code) {
    let error = LinuxError("open /x", number)
    #expect(error.code == code)
    #expect(error.errno == number)
    #expect("\(error)".hasPrefix("open /x: "))
  }

  @Test func kernelFilesAreReadWithinBounds() throws {
    #expect(try KernelFile.text("/proc/self/comm").hasSuffix("\n"))
    #expect(try KernelFile.number("/proc/sys/kernel/pid_max") > 0)
    #expect(throws: LinuxError.self) { _ = try KernelFile.bytes("/proc/self/maps", limit: 100) }
    #expect(throws: LinuxError.self) { _ = try KernelFile.number("/proc/self/comm") }
    let missing = #expect(throws: LinuxError.self) { _ = try KernelFile.text("/proc/self/nothing") }
    #expect(missing?.code == .notFound)
    #expect(try KernelFile.names(in: "/proc/self/task").contains("\(getpid())"))
  }
}
