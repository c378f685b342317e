import Glibc
import LinuxNetwork
import LinuxSystem
import Testing

@Suite struct NetworkTapTests {
  @Test func tapGoesWithItsLastDescriptor() async throws {
    let namespace = try await NetworkNamespace.create()
    let netlink = try await namespace.perform { try RouteNetlink() }
    let tap = try await namespace.perform { try Tap.open(named: "tap") }
    let taken = await namespace.failure { _ = try Tap.open(named: "tap") }
    #expect(taken?.errno == .resourceBusy)

    let adopted = try Tap(adopting: try tap.descriptor.duplicate())
    #expect(adopted.name == "tap")
    tap.takeDescriptor().close()
    #expect(try netlink.linkIndex(named: "tap") != nil)
    adopted.takeDescriptor().close()
    #expect(try netlink.linkIndex(named: "tap") == nil)
  }

  @Test func persistentTapStaysUntilDeleted() async throws {
    let namespace = try await NetworkNamespace.create()
    let netlink = try await namespace.perform { try RouteNetlink() }
    let tap = try await namespace.perform {
      try Tap.open(named: "tap", persistent: true, owner: 1000)
    }
    #expect(await namespace.failure { try Tap.delete(named: "tap") }?.errno == .resourceBusy)
    tap.takeDescriptor().close()
    let index = try #require(try netlink.linkIndex(named: "tap"))
    try await namespace.perform { try Tap.open(named: "tap", persistent: true) }
      .takeDescriptor().close()
    #expect(try netlink.linkIndex(named: "tap") == index)
    try await namespace.perform {
      try Tap.delete(named: "tap")
      try Tap.delete(named: "tap")
    }
    #expect(try netlink.linkIndex(named: "tap") == nil)
  }

  @Test func whatIsNoTapIsNotAdopted() throws {
    let notATap = OwnedFileDescriptor(owning: try checked(open("/dev/null", O_RDWR | O_CLOEXEC)))
    do {
      _ = try Tap(adopting: notATap)
      Issue.record("/dev/null was taken for a tap")
    } catch {
      #expect(error.errno != nil)
    }
  }

  @Test func readinessShowsThroughADuplicate() async throws {
    let bench = try await NetworkBench.make()
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      let copy = try bench.machine.descriptor.duplicate()
      #expect(try !hasReadableData(copy.rawValue))
      try injector.send(experimentalFrame(1))
      #expect(try hasReadableData(copy.rawValue))
      #expect(try hasReadableData(copy.rawValue))
      #expect(bench.machineRead() == experimentalFrame(1))
      #expect(try !hasReadableData(copy.rawValue))
    }
  }

  @Test func hostKeepsIPv6OffAnInterface() async throws {
    let namespace = try await NetworkNamespace.create()
    let quiet = try await namespace.perform { try Tap.open(named: "quiet") }
    let chatty = try await namespace.perform { try Tap.open(named: "chatty") }
    let netlink = try await namespace.perform { try RouteNetlink() }
    try await namespace.perform { try disableIPv6(onInterface: "quiet") }
    #expect(
      await namespace.failure { try disableIPv6(onInterface: "nonesuch") }?.code == .notFound)
    for tap in ["quiet", "chatty"] { try netlink.setUp(try netlink.index(tap), up: true) }
    try await waiting {
      // The other one shows that there is something to be switched off.
      #expect(readFrame(chatty.descriptor.rawValue, within: 3000) != nil)
      let spoke = try hasReadableData(quiet.descriptor.rawValue)
      #expect(!spoke)
    }
  }
}

@Suite struct NetworkNamespaceTests {
  @Test func bodiesRunInsideAndNowhereElse() async throws {
    let namespace = try await NetworkNamespace.create()
    let outside = try NetworkNamespace.current().identity()
    let path = "/proc/self/fd/\(namespace.descriptor)"
    let inside = try identity(path)
    #expect(inside != outside)
    #expect(try await namespace.perform { try identity("/proc/thread-self/ns/net") } == inside)
    #expect(try await namespace.perform { try NetworkNamespace.current() }.identity() == inside)
    #expect(try NetworkNamespace.open(path: path).identity() == inside)
    await #expect(throws: BenchError.self) {
      try await namespace.perform { throw BenchError("from inside") }
    }
  }

  @Test func namesComeAndGo() async throws {
    let name = "dormouse-test-\(getpid())"
    try NetworkNamespace.remove(named: name)
    let made = try await NetworkNamespace.create(named: name)
    defer { #expect(throws: Never.self) { try NetworkNamespace.remove(named: name) } }
    #expect(try NetworkNamespace.open(named: name).identity() == made.identity())
    await #expect(throws: LinuxError.self) {
      _ = try await NetworkNamespace.create(named: name)
    }
    try NetworkNamespace.remove(named: name)
    do {
      _ = try NetworkNamespace.open(named: name)
      Issue.record("a removed name was opened")
    } catch {
      #expect(error.code == .notFound)
    }
  }

  @Test func whatIsNoNamespaceIsRefused() async throws {
    let file = try NetworkNamespace.open(path: "/dev/null")
    #expect(await file.failure {}?.errno == .invalidArgument)
    for name in ["", "..", "a/b"] {
      #expect(throws: LinuxError.self) { try NetworkNamespace.remove(named: name) }
    }
  }
}

extension NetworkNamespace {
  borrowing func failure(_ body: @escaping @Sendable () throws -> Void) async -> LinuxError? {
    do {
      try await perform(body)
      return nil
    } catch {
      return error as? LinuxError
    }
  }

  borrowing func identity() throws -> UInt64 {
    try LinuxTests.identity("/proc/self/fd/\(descriptor)")
  }
}

/// The inode number, which tells namespaces apart.
private func identity(_ path: String) throws -> UInt64 {
  var information = stat()
  try checked(stat(path, &information))
  return UInt64(information.st_ino)
}
