import LinuxNetwork
import LinuxSystem

/// Puts frames onto a client's interface as they are, however wrong (packet(7)).
public final class FrameSender: Sendable {
  private let socket: PacketSocket

  /// Opens the client's interface.
  public init(on client: LabClient) async throws {
    socket = try await client.namespace.perform {
      try PacketSocket.open(onInterface: try RouteNetlink().index(of: "eth0"), mode: .injecting)
    }
  }

  /// Sends one frame, from the destination's address on; at least 14 bytes.
  ///
  /// - Throws: ``LinuxError`` when the kernel does not take it: too short, too long, or no room.
  public func send(_ frame: [UInt8]) throws {
    try frame.withUnsafeBytes { try socket.send($0) }
  }
}
