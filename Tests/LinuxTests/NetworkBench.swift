import Dispatch
import Glibc
import LinuxNetwork
import LinuxSystem

/// A bridge with a machine's tap, a detour tap, and a cable to a client in a namespace of its own.
/// All of it goes with the value.
final class NetworkBench: Sendable {
  static let clientAddress: [UInt8] = [192, 0, 2, 2]
  static let machineAddress: [UInt8] = [192, 0, 2, 10]
  static let machineMAC: [UInt8] = [0x52, 0x54, 0, 0, 0, 1]
  static let virtioHeaderSize = 10

  let host: NetworkNamespace
  let client: NetworkNamespace
  let netlink: RouteNetlink
  let machine: Tap
  let detour: Tap
  let machineIndex: CInt
  let detourIndex: CInt
  /// The client's cable: its end at the bridge, and its far end in the client's namespace.
  let nearIndex: CInt
  let farIndex: CInt

  private init(
    host: consuming NetworkNamespace, client: consuming NetworkNamespace,
    netlink: consuming RouteNetlink, machine: consuming Tap, detour: consuming Tap,
    indices: (machine: CInt, detour: CInt, near: CInt, far: CInt)
  ) {
    self.host = host
    self.client = client
    self.netlink = netlink
    self.machine = machine
    self.detour = detour
    machineIndex = indices.machine
    detourIndex = indices.detour
    nearIndex = indices.near
    farIndex = indices.far
  }

  static func make() async throws -> NetworkBench {
    let host = try await NetworkNamespace.create()
    let client = try await NetworkNamespace.create()
    for name in ["all", "default"] {
      // Nothing but the tests' own frames shall be on the wires.
      try await host.perform { try disableIPv6(onInterface: name) }
      try await client.perform { try disableIPv6(onInterface: name) }
    }
    let clientNamespace = client.descriptor
    let netlink = try await host.perform { try RouteNetlink() }
    let machine = try await host.perform { try Tap.open(named: "machine", virtioHeader: true) }
    let detour = try await host.perform { try Tap.open(named: "detour") }
    try netlink.createBridge(named: "bridge", multicastSnooping: false)
    try netlink.createVethPair(named: "near", peer: "far", peerNamespace: clientNamespace)
    let bridge = try netlink.index("bridge")
    let near = try netlink.index("near")
    let machineIndex = try netlink.index("machine")
    let detourIndex = try netlink.index("detour")
    for port in [machineIndex, near] { try netlink.setMaster(port, master: bridge) }
    try netlink.setNoARP(detourIndex)
    for index in [bridge, near, machineIndex, detourIndex] {
      try netlink.setUp(index, up: true)
    }
    let far = try await client.perform {
      let netlink = try RouteNetlink()
      let far = try netlink.index("far")
      try netlink.addAddress(far, "192.0.2.2/24")
      try netlink.setUp(far, up: true)
      return far
    }
    try netlink.addClsact(machineIndex)
    try netlink.addClsact(detourIndex)
    try netlink.addRedirect(
      from: detourIndex, hook: .ingress, to: machineIndex, delivery: .ingress, priority: 1)
    let bench = NetworkBench(
      host: host, client: client, netlink: netlink, machine: machine, detour: detour,
      indices: (machineIndex, detourIndex, near, far))
    try await bench.waitForTheCable()
    return bench
  }

  /// A bridge hears of a port's carrier by a work queue of the kernel's, up to a second or two late, and
  /// drops what comes before.
  private func waitForTheCable() async throws {
    let probe = try await clientSocket(.injecting)
    try await waiting {
      let deadline = ContinuousClock.now + .seconds(10)
      while self.machineRead(within: 20) == nil {
        guard ContinuousClock.now < deadline else {
          throw BenchError("the bridge forwards nothing")
        }
        try probe.send(experimentalFrame(0))
      }
      while self.machineRead(within: 20) != nil {}
    }
  }

  /// A packet socket of the host's. Sockets stay in the namespace that they were opened in.
  func socket(
    _ index: CInt, _ mode: PacketSocket.Mode, receiveBuffer: Int = 1 << 20
  ) async throws -> PacketSocket {
    try await host.perform {
      try PacketSocket.open(onInterface: index, mode: mode, receiveBuffer: receiveBuffer)
    }
  }

  /// A packet socket at the client's end of the cable.
  func clientSocket(_ mode: PacketSocket.Mode) async throws -> PacketSocket {
    let index = farIndex
    return try await client.perform { try PacketSocket.open(onInterface: index, mode: mode) }
  }

  func detourOn() throws {
    try netlink.addRedirect(
      from: machineIndex, hook: .egress, to: detourIndex, delivery: .egress, priority: 1)
  }

  func detourOff() throws {
    try netlink.deleteRedirect(from: machineIndex, hook: .egress, priority: 1)
  }

  /// The next frame that the machine would read, if one comes within the time.
  func machineRead(within milliseconds: CInt = 2000) -> [UInt8]? {
    readFrame(machine.descriptor.rawValue, within: milliseconds)
      .map { Array($0.dropFirst(Self.virtioHeaderSize)) }
  }

  func machineWrite(_ frame: [UInt8]) throws {
    try writeFrame([UInt8](repeating: 0, count: Self.virtioHeaderSize) + frame, machine)
  }

  /// The next frame that the sentry would read, if one comes within the time.
  func detourRead(within milliseconds: CInt = 2000) -> [UInt8]? {
    readFrame(detour.descriptor.rawValue, within: milliseconds)
  }

  func detourWrite(_ frame: [UInt8]) throws {
    try writeFrame(frame, detour)
  }

  private func writeFrame(_ frame: [UInt8], _ tap: borrowing Tap) throws {
    let written = try checked(write(tap.descriptor.rawValue, frame, frame.count))
    guard written == frame.count else { throw BenchError("a tap took \(written) bytes") }
  }
}

struct BenchError: Error {
  let message: String
  init(_ message: String) { self.message = message }
}

extension RouteNetlink {
  borrowing func index(_ name: String) throws -> CInt {
    guard let index = try linkIndex(named: name) else { throw BenchError("no \(name)") }
    return index
  }
}

extension PacketSocket {
  borrowing func send(_ frame: [UInt8]) throws {
    try frame.withUnsafeBytes { try send($0) }
  }

  /// The next frame and its bytes, if one comes within the time.
  borrowing func receive(
    within milliseconds: CInt = 2000
  ) throws -> (frame: ReceivedFrame, bytes: [UInt8])? {
    guard waitReadable(descriptor, milliseconds) else { return nil }
    var buffer = [UInt8](repeating: 0, count: 70000)
    return try receive(into: &buffer).map { ($0, Array(buffer.prefix($0.capturedLength))) }
  }
}

func waitReadable(_ descriptor: CInt, _ milliseconds: CInt) -> Bool {
  var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  return poll(&request, 1, milliseconds) == 1 && request.revents & Int16(POLLIN) != 0
}

func readFrame(_ descriptor: CInt, within milliseconds: CInt) -> [UInt8]? {
  guard waitReadable(descriptor, milliseconds) else { return nil }
  var buffer = [UInt8](repeating: 0, count: 70000)
  let count = read(descriptor, &buffer, buffer.count)
  return count > 0 ? Array(buffer.prefix(count)) : nil
}

/// A broadcast frame of an ethertype for experiments (IEEE 802), with a recognizable payload.
func experimentalFrame(_ mark: UInt8, length: Int = 60) -> [UInt8] {
  let header: [UInt8] =
    [UInt8](repeating: 0xff, count: 6) + [0x52, 0x54, 0, 0, 0, 0x99] + [0x88, 0xb5]
  return header + [UInt8](repeating: mark, count: length - header.count)
}

/// The Internet checksum (RFC 1071) over all parts; 0 over data that contains its own valid
/// checksum.
func internetChecksum(_ bytes: some Collection<UInt8>) -> UInt16 {
  var sum: UInt32 = 0
  for (position, byte) in bytes.enumerated() {
    sum += position % 2 == 0 ? UInt32(byte) << 8 : UInt32(byte)
  }
  while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
  return ~UInt16(sum)
}

/// Runs a test's body on threads that may wait, and still as part of the test, which a body of
/// `NetworkNamespace.perform` is not: what it expects in vain would be nobody's failure.
func waiting(_ body: () async throws -> Void) async throws {
  try await withTaskExecutorPreference(WaitingThreads(), operation: body)
}

private final class WaitingThreads: TaskExecutor {
  private let queue = DispatchQueue(label: "waiting", attributes: .concurrent)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

/// Runs a program of the system's in the calling thread's namespaces and returns its exit status.
func runProgram(_ path: String, _ arguments: [String]) throws -> CInt {
  let strings = ([path] + arguments).map { strdup($0) }
  defer {
    for string in strings { free(string) }
  }
  var process: pid_t = 0
  let failure = posix_spawn(&process, path, nil, nil, strings + [nil], environ)
  guard failure == 0 else { throw BenchError("\(path) does not start: \(failure)") }
  var status: CInt = 0
  while waitpid(process, &status, 0) == -1, errno == EINTR {}
  return status
}
