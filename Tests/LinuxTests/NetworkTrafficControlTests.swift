import Glibc
import LinuxNetwork
import LinuxSystem
import Testing

@Suite struct NetworkTrafficControlTests {
  private typealias Notice = TrafficControlMonitor.Notice

  @Test func redirectsAreListedAndDeletedByPriority() async throws {
    let bench = try await NetworkBench.make()
    let netlink = try await bench.host.perform { try RouteNetlink() }
    let machine = bench.machineIndex
    func redirect(_ priority: UInt16) -> Redirect {
      Redirect(
        index: machine, hook: .egress, priority: priority, target: bench.detourIndex,
        delivery: .egress)
    }
    #expect(try netlink.redirects(on: machine, hook: .egress).isEmpty)
    #expect(try !netlink.deleteRedirect(from: machine, hook: .egress, priority: 1))
    for priority in [UInt16(1), 7] {
      try netlink.addRedirect(
        from: machine, hook: .egress, to: bench.detourIndex, delivery: .egress,
        priority: priority)
    }
    #expect(try netlink.redirects(on: machine, hook: .egress) == [redirect(1), redirect(7)])
    #expect(try netlink.redirects(on: machine, hook: .ingress).isEmpty)
    #expect(
      try netlink.redirects(on: bench.detourIndex, hook: .ingress) == [
        Redirect(
          index: bench.detourIndex, hook: .ingress, priority: 1, target: machine,
          delivery: .ingress)
      ])

    #expect(
      #expect(throws: LinuxError.self) {
        try netlink.addRedirect(
          from: machine, hook: .egress, to: bench.detourIndex, delivery: .egress, priority: 7)
      }?.errno == .fileExists)
    #expect(try netlink.redirects(on: machine, hook: .egress).count == 2)

    #expect(try netlink.deleteRedirect(from: machine, hook: .egress, priority: 1))
    #expect(try !netlink.deleteRedirect(from: machine, hook: .egress, priority: 1))
    #expect(try netlink.redirects(on: machine, hook: .egress) == [redirect(7)])
  }

  @Test func clsactIsIdempotent() async throws {
    let bench = try await NetworkBench.make()
    let netlink = try await bench.host.perform { try RouteNetlink() }
    let machine = bench.machineIndex
    try netlink.addClsact(machine)
    #expect(try netlink.hasClsact(machine))
    #expect(try !netlink.hasClsact(bench.nearIndex))
    try bench.detourOn()
    try netlink.deleteClsact(machine)
    try netlink.deleteClsact(machine)
    #expect(try !netlink.hasClsact(machine))
    #expect(try netlink.redirects(on: machine, hook: .egress).isEmpty)
    #expect(try !netlink.deleteRedirect(from: machine, hook: .egress, priority: 1))
  }

  @Test func refusalsCarryTheKernelsWords() async throws {
    let bench = try await NetworkBench.make()
    let netlink = try await bench.host.perform { try RouteNetlink() }
    let near = bench.nearIndex
    let withoutHooks = #expect(throws: LinuxError.self) {
      try netlink.addRedirect(
        from: near, hook: .egress, to: bench.detourIndex, delivery: .egress, priority: 1)
    }
    #expect(withoutHooks?.errno == .invalidArgument)
    #expect(withoutHooks?.message.contains("Parent Qdisc doesn't exist") == true)
    let withoutTarget = #expect(throws: LinuxError.self) {
      try netlink.addRedirect(
        from: bench.machineIndex, hook: .egress, to: 9999, delivery: .egress, priority: 1)
    }
    #expect(withoutTarget?.code == .notFound)
    let withoutInterface = #expect(throws: LinuxError.self) { try netlink.addClsact(9999) }
    #expect(withoutInterface?.code == .notFound)
    #expect(
      #expect(throws: LinuxError.self) {
        try netlink.deleteRedirect(from: 9999, hook: .egress, priority: 1)
      }?.code == .notFound)
  }

  @Test func whatTheToolDoesIsSeen() async throws {
    let bench = try await NetworkBench.make()
    var monitor = try await bench.host.perform { try TrafficControlMonitor() }
    try await waiting {
      #expect(try monitor.next() == nil)
      try bench.detourOn()
      #expect(try notices(&monitor).contains(.filterAdded(bench.machineIndex)))

      #expect(
        try await bench.host.perform {
          try runProgram(
            "/usr/sbin/tc", ["filter", "del", "dev", "machine", "egress", "pref", "1"])
        } == 0)
      #expect(try notices(&monitor).contains(.filterDeleted(bench.machineIndex)))
      #expect(try bench.netlink.redirects(on: bench.machineIndex, hook: .egress).isEmpty)

      try bench.detourOn()
      _ = try notices(&monitor)
      #expect(
        try await bench.host.perform {
          try runProgram("/usr/sbin/tc", ["qdisc", "del", "dev", "machine", "clsact"])
        } == 0)
      #expect(try notices(&monitor).contains(.qdiscDeleted(bench.machineIndex)))

      // Leaving the bridge is no deletion.
      try bench.netlink.setMaster(bench.machineIndex, master: nil)
      let leaving = try notices(&monitor)
      #expect(!leaving.isEmpty && !leaving.contains(.linkDeleted(bench.machineIndex)))
      try bench.netlink.deleteLink(bench.machineIndex)
      #expect(try notices(&monitor).contains(.linkDeleted(bench.machineIndex)))
    }
  }

  @Test func lostNoticesAreSaid() async throws {
    let bench = try await NetworkBench.make()
    var monitor = try await bench.host.perform { try TrafficControlMonitor() }
    try await waiting {
      // The least receive buffer that the kernel allows.
      var size: CInt = 1
      try checked(
        setsockopt(monitor.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(4)))
      for _ in 0..<20 {
        try bench.detourOn()
        try bench.detourOff()
      }
      #expect(try notices(&monitor).contains(.overrun))
    }
  }

  /// Everything until a tenth of a second of silence.
  private func notices(_ monitor: inout TrafficControlMonitor) throws -> [Notice] {
    var all: [Notice] = []
    repeat {
      while let notice = try monitor.next() { all.append(notice) }
    } while waitReadable(monitor.descriptor, 100)
    return all
  }
}
