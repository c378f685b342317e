import LinuxNetwork
import LinuxSystem
import Synchronization

/// Watches, at a client's interface, that each address has one owner: that no echo request gets two replies
/// and no address is claimed from two hardware addresses.
public final class OwnerWatch: Sendable {
  private struct State {
    /// Echo replies by their sender, identifier and sequence number, the newest ones.
    var replies: [[UInt8]: Int] = [:]
    var order: [[UInt8]] = []
    /// Hardware addresses that have claimed an IPv4 address in ARP.
    var claims: [[UInt8]: [UInt8]] = [:]
    var violations: [String] = []
  }

  private static let remembered = 4_096

  private let state = Mutex(State())
  private let stopped = Mutex(false)
  private let socket: PacketSocket

  /// Begins to watch the client's interface.
  public init(on client: LabClient) async throws {
    socket = try await client.namespace.perform {
      let index = try RouteNetlink().index(of: "eth0")
      return try PacketSocket.open(
        onInterface: index, mode: .learning(snapLength: 128), receiveBuffer: 4 << 20)
    }
    Task { try await self.watch() }
  }

  /// What was seen that one owner would not have done; one sentence each.
  public var violations: [String] { state.withLock { $0.violations } }

  /// Stops watching.
  public func stop() { stopped.withLock { $0 = true } }

  private func watch() async throws {
    var buffer = [UInt8](repeating: 0, count: 256)
    while !stopped.withLock({ $0 }) {
      _ = try await ReadinessMonitor.shared.wait(
        untilReadable: socket.descriptor, timeout: .milliseconds(200))
      while let frame = try socket.receive(into: &buffer) {
        // "From the guest" is what enters the interface.
        if frame.direction == .fromGuest { see(Array(buffer[..<frame.capturedLength])) }
      }
    }
  }

  private func see(_ frame: [UInt8]) {
    guard frame.count >= 42 else { return }
    switch (frame[12], frame[13]) {
    case (0x08, 0x06):
      claim(address: Array(frame[28..<32]), by: Array(frame[22..<28]))
    case (0x08, 0x00) where frame[23] == 1:
      let icmp = 14 + Int(frame[14] & 0x0f) * 4
      guard frame.count >= icmp + 8, frame[icmp] == 0 else { return }
      reply(Array(frame[26..<30] + frame[icmp + 4..<icmp + 8]))
    case (0x86, 0xdd) where frame.count >= 62 && frame[20] == 58 && frame[54] == 129:
      reply(Array(frame[22..<38] + frame[58..<62]))
    default: return
    }
  }

  private func claim(address: [UInt8], by hardware: [UInt8]) {
    guard address != [0, 0, 0, 0] else { return }
    state.withLock { state in
      if let known = state.claims[address], known != hardware {
        state.violations.append("the address \(address) is claimed by \(known) and \(hardware)")
      }
      state.claims[address] = hardware
    }
  }

  private func reply(_ key: [UInt8]) {
    state.withLock { state in
      state.replies[key, default: 0] += 1
      if state.replies[key] == 1 { state.order.append(key) }
      if state.replies[key] == 2 {
        state.violations.append("an echo request was answered twice (\(key))")
      }
      if state.order.count > Self.remembered {
        state.replies[state.order.removeFirst()] = nil
      }
    }
  }
}
