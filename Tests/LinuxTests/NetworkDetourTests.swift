import Glibc
import LinuxNetwork
import LinuxSystem
import Testing

/// What the detour rests on, with real taps, a real bridge and real filters.
@Suite struct NetworkDetourTests {
  @Test func filterDecidesWhoGetsTheFrames() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    try await waiting {
      try far.send(experimentalFrame(1))
      #expect(bench.machineRead() == experimentalFrame(1))

      try bench.detourOn()
      try far.send(experimentalFrame(2))
      #expect(bench.detourRead() == experimentalFrame(2))
      #expect(try !hasReadableData(bench.machine.descriptor.rawValue))

      try bench.detourOff()
      try far.send(experimentalFrame(3))
      #expect(bench.machineRead() == experimentalFrame(3))
      #expect(try !hasReadableData(bench.detour.descriptor.rawValue))
    }
  }

  @Test func framesTooShortForAnyHeaderAreRedirectedToo() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    try await waiting {
      try bench.detourOn()
      try far.send(experimentalFrame(1, length: 15))
      #expect(bench.detourRead()?.prefix(15) == experimentalFrame(1, length: 15)[...])
      #expect(try !hasReadableData(bench.machine.descriptor.rawValue))
    }
  }

  @Test func framesOfTheSentryComeFromTheMachine() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.learning(snapLength: 2000))
    try await waiting {
      for detoured in [false, true] {
        if detoured { try bench.detourOn() }
        let mark: UInt8 = detoured ? 2 : 1
        try bench.detourWrite(experimentalFrame(mark))
        #expect(try far.receive()?.bytes == experimentalFrame(mark))
        // The bridge does not send a frame back to the port that it came from.
        #expect(try !hasReadableData(bench.detour.descriptor.rawValue))
        #expect(try !hasReadableData(bench.machine.descriptor.rawValue))
      }
    }
  }

  @Test func whatTheHostItselfSendsIsDetouredToo() async throws {
    let bench = try await NetworkBench.make()
    try bench.netlink.addAddress(try bench.netlink.index("bridge"), "192.0.2.1/24")
    let host = try await bench.host.perform {
      OwnedFileDescriptor(
        owning: try checked(socket(AF_INET, CInt(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)))
    }
    try await waiting {
      try bench.detourOn()
      var machine = ipv4(NetworkBench.machineAddress, port: 9)
      #expect(withSocketAddress(&machine) { sendto(host.rawValue, "?", 1, 0, $0, $1) } == 1)
      // It asks for the machine's link-layer address first.
      let question = try #require(bench.detourRead())
      #expect(question[12..<14] == [0x08, 0x06] && question.suffix(4) == [192, 0, 2, 10])
      #expect(try !hasReadableData(bench.machine.descriptor.rawValue))
    }
  }

  @Test func injectionPassesTheDetour() async throws {
    let bench = try await NetworkBench.make()
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      try bench.detourOn()
      for mark in UInt8(1)...100 { try injector.send(experimentalFrame(mark)) }
      for mark in UInt8(1)...100 {
        #expect(bench.machineRead() == experimentalFrame(mark))
      }
      #expect(try !hasReadableData(bench.detour.descriptor.rawValue))

      // Full-size and tagged full-size frames fit; more does not.
      try injector.send(experimentalFrame(1, length: 1514))
      #expect(bench.machineRead()?.count == 1514)
      let error = #expect(throws: LinuxError.self) {
        try injector.send(experimentalFrame(1, length: 1519))
      }
      #expect(error?.errno == .messageTooLong)
    }
  }

  @Test func injectionIntoAFullQueueIsReported() async throws {
    let bench = try await NetworkBench.make()
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      try bench.netlink.setTransmitQueueLength(bench.machineIndex, 20)
      for _ in 0..<20 { try injector.send(experimentalFrame(1)) }
      let error = #expect(throws: LinuxError.self) { try injector.send(experimentalFrame(2)) }
      #expect(error?.code == .exhausted)
      for _ in 0..<20 { #expect(bench.machineRead() == experimentalFrame(1)) }
      try injector.send(experimentalFrame(3))
      #expect(bench.machineRead() == experimentalFrame(3))
    }
  }

  @Test func superFramesComeOutSegmentedAndChecksummed() async throws {
    let bench = try await NetworkBench.make()
    let client = try await bench.client.perform {
      OwnedFileDescriptor(
        owning: try checked(
          socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)))
    }
    let cable = try await bench.socket(bench.nearIndex, .learning(snapLength: 54))
    try await waiting {
      try bench.machine.setOffloads(0x03)  // TUN_F_CSUM | TUN_F_TSO4, as a guest's driver does
      let conversation = try TCPConversation(client: client.rawValue, bench: bench)

      // Without the detour the machine is handed the super-frame, its checksum left to do.
      try conversation.send(5 * TCPConversation.segmentSize)
      let whole = try #require(bench.machineRead())
      #expect(whole.count == 54 + 5 * TCPConversation.segmentSize)
      #expect(!TCPConversation.hasValidChecksums(whole))

      try bench.detourOn()
      try conversation.send(5 * TCPConversation.segmentSize)
      var position = TCPConversation.sequence(of: whole) &+ UInt32(whole.count - 54)
      for _ in 0..<5 {
        let frame = try #require(bench.detourRead())
        #expect(frame.count == 54 + TCPConversation.segmentSize)
        #expect(TCPConversation.hasValidChecksums(frame))
        #expect(TCPConversation.sequence(of: frame) == position)
        position &+= UInt32(frame.count - 54)
      }
      #expect(try !hasReadableData(bench.machine.descriptor.rawValue))

      // On the cable both were single frames.
      var seen: [PacketSocket.ReceivedFrame] = []
      while let next = try cable.receive(within: 0) { seen.append(next.frame) }
      let large = seen.filter { $0.originalLength > 1514 }
      #expect(large.map(\.originalLength) == [whole.count, whole.count])
      #expect(large.allSatisfy { $0.hasPendingChecksum })
    }
  }

  @Test func aVanishedDetourTapIsSeenAndLosesFrames() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    try await waiting {
      try bench.detourOn()
      try bench.netlink.deleteLink(bench.detourIndex)
      #expect(
        try bench.netlink.redirects(on: bench.machineIndex, hook: .egress) == [
          Redirect(
            index: bench.machineIndex, hook: .egress, priority: 1, target: nil, delivery: .egress)
        ])
      try far.send(experimentalFrame(1))
      #expect(bench.machineRead(within: 50) == nil)
      let error = #expect(throws: LinuxError.self) {
        try hasReadableData(bench.detour.descriptor.rawValue)
      }
      #expect(error != nil)

      try bench.detourOff()
      try far.send(experimentalFrame(2))
      #expect(bench.machineRead() == experimentalFrame(2))
    }
  }
}

private func ipv4(_ address: [UInt8], port: UInt16) -> sockaddr_in {
  var result = sockaddr_in()
  result.sin_family = sa_family_t(AF_INET)
  result.sin_port = port.bigEndian
  result.sin_addr.s_addr = address.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
  return result
}

private func withSocketAddress<Result>(
  _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

/// A real TCP client in the client's namespace; the machine's side is played by hand.
private struct TCPConversation {
  static let segmentSize = 1460
  private let client: CInt

  init(client: CInt, bench: NetworkBench) throws {
    self.client = client
    var address = ipv4(NetworkBench.machineAddress, port: 80)
    let result = withSocketAddress(&address) { connect(client, $0, $1) }
    guard result == -1, errno == EINPROGRESS else { throw BenchError("connect: \(errno)") }

    let question = try next(bench, type: [0x08, 0x06])
    let clientMAC = Array(question[6..<12])
    try bench.machineWrite(
      clientMAC + NetworkBench.machineMAC + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]
        + NetworkBench.machineMAC + NetworkBench.machineAddress + clientMAC
        + NetworkBench.clientAddress)

    let opening = try next(bench, type: [0x08, 0x00])
    let acknowledged = withUnsafeBytes(of: (Self.sequence(of: opening) &+ 1).bigEndian, Array.init)
    var segment: [UInt8] =
      [0, 80] + opening[34..<36] + [0, 0, 0x10, 0] + acknowledged
      + [0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0, 2, 4]
      + withUnsafeBytes(of: UInt16(Self.segmentSize).bigEndian, Array.init)
    let pseudo =
      NetworkBench.machineAddress + NetworkBench.clientAddress + [0, 6, 0, UInt8(segment.count)]
    let checksum = internetChecksum(pseudo + segment)
    segment[16] = UInt8(checksum >> 8)
    segment[17] = UInt8(checksum & 0xff)
    var header: [UInt8] =
      [0x45, 0, 0, UInt8(20 + segment.count), 0, 0, 0, 0, 64, 6, 0, 0]
      + NetworkBench.machineAddress + NetworkBench.clientAddress
    let headerChecksum = internetChecksum(header)
    header[10] = UInt8(headerChecksum >> 8)
    header[11] = UInt8(headerChecksum & 0xff)
    try bench.machineWrite(
      clientMAC + NetworkBench.machineMAC + [0x08, 0x00] + header + segment)
    _ = try next(bench, type: [0x08, 0x00])
  }

  private func next(_ bench: NetworkBench, type: [UInt8]) throws -> [UInt8] {
    while let frame = bench.machineRead() {
      if Array(frame[12..<14]) == type { return frame }
    }
    throw BenchError("the client sent no frame of type \(type)")
  }

  func send(_ count: Int) throws {
    let data = [UInt8](repeating: 7, count: count)
    guard write(client, data, count) == count else { throw BenchError("write: \(errno)") }
  }

  static func sequence(of frame: [UInt8]) -> UInt32 {
    frame[38..<42].reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Of an IPv4 frame without options.
  static func hasValidChecksums(_ frame: [UInt8]) -> Bool {
    let segment = frame[34...]
    let length = UInt16(truncatingIfNeeded: segment.count)
    let pseudo = frame[26..<34] + [0, 6, UInt8(length >> 8), UInt8(length & 0xff)]
    return internetChecksum(frame[14..<34]) == 0 && internetChecksum(pseudo + segment) == 0
  }
}
