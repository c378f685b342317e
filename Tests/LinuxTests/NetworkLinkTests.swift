import Glibc
import LinuxNetwork
import LinuxSystem
import Synchronization
import Testing

@Suite struct NetworkLinkTests {
  @Test func linksAreMadeChangedAndDeleted() async throws {
    let namespace = try await NetworkNamespace.create()
    let netlink = try await namespace.perform { try RouteNetlink() }
    try netlink.createBridge(named: "bridge")
    try netlink.createVethPair(named: "left", peer: "right")
    let bridge = try netlink.index("bridge")
    let left = try netlink.index("left")
    let right = try netlink.index("right")
    let address = try #require(HardwareAddress("52:54:00:0a:0b:0c"))
    try netlink.setMACAddress(left, address)
    try netlink.setMTU(left, 1400)
    try netlink.setMaster(left, master: bridge)
    try netlink.setUp(left, up: true)
    let changed = try #require(try netlink.link(left))
    #expect(changed.name == "left")
    #expect(changed.macAddress == address)
    #expect(changed.mtu == 1400)
    #expect(changed.master == bridge)
    #expect(changed.isUp && !changed.isRunning)
    try netlink.setUp(right, up: true)
    #expect(try netlink.link(left)?.isRunning == true)
    try netlink.setMaster(left, master: nil)
    try netlink.setUp(left, up: false)
    let restored = try #require(try netlink.link(named: "left"))
    #expect(restored.master == nil && !restored.isUp)
    #expect(Set(try netlink.links().map(\.name)) == ["lo", "bridge", "left", "right"])

    try netlink.deleteLink(right)
    #expect(try netlink.link(left) == nil)
    #expect(try netlink.linkIndex(named: "left") == nil)
  }

  @Test func countersCount() async throws {
    let bench = try await NetworkBench.make()
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      let before = try #require(try bench.netlink.link(bench.machineIndex)).statistics
      for _ in 0..<3 { try bench.machineWrite(experimentalFrame(1, length: 100)) }
      try injector.send(experimentalFrame(2, length: 200))
      let after = try #require(try bench.netlink.link(bench.machineIndex)).statistics
      #expect(after.receivedPackets - before.receivedPackets == 3)
      #expect(after.receivedBytes - before.receivedBytes == 300)
      // A tap counts a frame as sent when its reader fetches it.
      #expect(after.sentPackets == before.sentPackets)
      #expect(bench.machineRead()?.count == 200)
      let read = try #require(try bench.netlink.link(bench.machineIndex)).statistics
      #expect(read.sentPackets - before.sentPackets == 1)
    }
  }

  @Test func refusalsAreTyped() async throws {
    let namespace = try await NetworkNamespace.create()
    let netlink = try await namespace.perform { try RouteNetlink() }
    let missing = #expect(throws: LinuxError.self) { try netlink.setUp(9999, up: true) }
    #expect(missing?.code == .notFound)
    #expect(missing?.errno == .operationNotSupportedByDevice)
    try netlink.createBridge(named: "bridge")
    #expect(
      #expect(throws: LinuxError.self) { try netlink.createBridge(named: "bridge") }?.errno
        == .fileExists)
    for name in ["", "sixteen-letters-", "a/b", "..", "a b", "a:b"] {
      #expect(
        #expect(throws: LinuxError.self) { try netlink.createBridge(named: name) }?.errno
          == .invalidArgument)
      #expect(throws: LinuxError.self) { _ = try Tap.open(named: name) }
    }
    let loopback = try netlink.index("lo")
    for address in ["192.0.2.1", "192.0.2.1/33", "192.0.2.256/24", "fd00::1/129", "/24", ""] {
      #expect(
        #expect(throws: LinuxError.self) { try netlink.addAddress(loopback, address) }?.errno
          == .invalidArgument)
    }
    try netlink.addAddress(loopback, "192.0.2.1/24")
    try netlink.addAddress(loopback, "fd00::1/64")
    #expect(
      #expect(throws: LinuxError.self) { try netlink.addAddress(loopback, "fd00::1/64") }?.errno
        == .fileExists)
  }

  @Test func manyLinksAreListedWhileOthersCome() async throws {
    let bench = try await NetworkBench.make()
    let names = (0..<40).map { "stays\($0)" }
    for name in names { try bench.netlink.createVethPair(named: name, peer: "\(name)p") }
    let done = Flag()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await bench.host.perform {
          let other = try RouteNetlink()
          while !done.isSet {
            try other.createBridge(named: "comes")
            try other.deleteLink(try other.index("comes"))
          }
        }
      }
      // One socket for several threads: answers do not get mixed up.
      try await withThrowingTaskGroup(of: Void.self) { readers in
        for name in names.prefix(3) {
          readers.addTask {
            try await bench.host.perform {
              for _ in 0..<10 {
                let all = try bench.netlink.links()
                guard all.filter({ $0.name.hasPrefix("stays") }).count == 80 else {
                  throw BenchError("of 80 links \(all.map(\.name)) were listed")
                }
                guard try bench.netlink.link(named: name)?.name == name else {
                  throw BenchError("\(name) was not found")
                }
              }
            }
          }
        }
        try await readers.waitForAll()
      }
      done.set()
      try await group.waitForAll()
    }
  }

  @Test func hardwareAddressesAreReadAndWritten() {
    #expect(HardwareAddress("52:54:00:0A:0b:ff")?.description == "52:54:00:0a:0b:ff")
    #expect(HardwareAddress("52:54:00:0a:0b:ff")?.bytes == [0x52, 0x54, 0, 0x0a, 0x0b, 0xff])
    for text in ["", "52:54:00:0a:0b", "52:54:00:0a:0b:ff:00", "52:54:00:0a:0b:+f", "5254000a0bff"]
    {
      #expect(HardwareAddress(text) == nil)
    }
    #expect(HardwareAddress(bytes: [1, 2, 3]) == nil)
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}
