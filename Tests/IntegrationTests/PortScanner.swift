import FoundationEssentials
import LinuxNetwork
import LinuxSystem
import TestBed

/// Sends SYNs from a client's interface, past its own TCP, and collects what comes back.
struct PortScanner {
  private let sender: FrameSender
  private let receiver: HeldPacketSocket
  private let guest: [UInt8]
  private let own: [UInt8]

  init(from client: LabClient, to macAddress: String) async throws {
    sender = try await FrameSender(on: client)
    receiver = HeldPacketSocket(
      try await client.namespace.perform {
        guard let index = try RouteNetlink().linkIndex(named: "eth0") else {
          throw TestBedError(code: .unprepared, message: "the client has no eth0")
        }
        return try PacketSocket.open(
          onInterface: index, mode: .learning(snapLength: 200), receiveBuffer: 8 << 20)
      })
    guest = TestFrames.bytes(ofMAC: macAddress)
    let line = try await client.namespace.run("ip", "-brief", "link", "show", "eth0")
    own = TestFrames.bytes(ofMAC: String(line.split(separator: " ").dropFirst(2).first ?? ""))
  }

  /// Asks until every port has answered or the time is over. Slowly enough for a sentry that watches the
  /// guest: it looks away from more than two thousand frames a second.
  ///
  /// - Returns: the RST of each port, with the flow label of IPv6 zeroed: Linux makes one up from a secret.
  func scan(
    _ ports: [UInt16], at address: String, from sender: String, within deadline: Duration
  ) async throws -> [UInt16: [UInt8]] {
    var answers: [UInt16: [UInt8]] = [:]
    let end = ContinuousClock.now + deadline
    while answers.count < ports.count, ContinuousClock.now < end {
      for (index, port) in ports.filter({ answers[$0] == nil }).enumerated() {
        try self.sender.send(frame(port, address, sender))
        if index % 50 == 49 {
          try await Task.sleep(for: .milliseconds(100))
          try collect(into: &answers, from: address)
        }
      }
      try await Task.sleep(for: .milliseconds(300))
      try collect(into: &answers, from: address)
    }
    return answers
  }

  private func frame(_ port: UInt16, _ address: String, _ sender: String) -> [UInt8] {
    let syn = TestFrames.synSegment(port: port)
    return address.contains(":")
      ? TestFrames.ipv6(to: guest, from: own, sender, address, 6, syn, checksumAt: 16)
      : TestFrames.ipv4(to: guest, from: own, sender, address, 6, syn, checksumAt: 16)
  }

  private func collect(into answers: inout [UInt16: [UInt8]], from address: String) throws {
    let wanted = TestFrames.bytes(ofAddress: address)
    var buffer = [UInt8](repeating: 0, count: 256)
    while let received = try receiver.socket.receive(into: &buffer) {
      // "To the guest" is what leaves the interface.
      guard received.direction == .fromGuest else { continue }
      var frame = Array(buffer[..<received.capturedLength])
      let isIPv6 = wanted.count == 16
      let (transport, source) = isIPv6 ? (54, 22..<38) : (34, 26..<30)
      guard frame.count >= transport + 20, frame[12] == (isIPv6 ? 0x86 : 0x08),
        frame[isIPv6 ? 20 : 23] == 6, Array(frame[source]) == wanted,
        frame[transport + 13] & 0x04 != 0
      else { continue }
      if isIPv6 { frame.replaceSubrange(15..<18, with: [frame[15] & 0xf0, 0, 0]) }
      answers[UInt16(frame[transport]) << 8 | UInt16(frame[transport + 1])] = frame
    }
  }
}

/// A packet socket that lives as long as somebody refers to it.
private final class HeldPacketSocket: Sendable {
  let socket: PacketSocket

  init(_ socket: consuming PacketSocket) { self.socket = socket }
}
