import Glibc
import LinuxSystem
import Synchronization

/// ICMP and ICMPv6 echo requests from a client.
public final class Pinger: Sendable {
  private let client: LabClient
  private let address: String
  private let isIPv6: Bool
  private let sequence = Mutex<UInt16>(0)

  /// - Parameter address: numeric, IPv4 or IPv6.
  public init(from client: LabClient, to address: String) {
    self.client = client
    self.address = address
    isIPv6 = address.contains(":")
  }

  /// Sends one request and waits for its reply.
  ///
  /// - Returns: the delay; nil when no reply came in time.
  public func ping(within deadline: Duration = .seconds(1)) async throws -> Duration? {
    let number = sequence.withLock { sequence in
      sequence &+= 1
      return sequence
    }
    let request = Self.request(isIPv6: isIPv6, sequence: number)
    let (address, isIPv6) = (address, isIPv6)
    return try await client.namespace.perform {
      let socket = try Sockets.connectICMP(to: address)
      let clock = ContinuousClock()
      let start = clock.now
      try checked("send an echo request", send(socket.rawValue, request, request.count, 0))
      var buffer = [UInt8](repeating: 0, count: 2_048)
      while true {
        let left = deadline - (clock.now - start)
        guard left > .zero else { return nil }
        try Sockets.setReceiveTimeout(socket.rawValue, left)
        let count = recv(socket.rawValue, &buffer, buffer.count, 0)
        guard count > 0 else { continue }
        // A raw IPv4 socket delivers the IP header as well.
        let start4 = isIPv6 ? 0 : Int(buffer[0] & 0x0f) * 4
        let reply = buffer[..<count].dropFirst(start4)
        guard reply.count == request.count, reply.first == (isIPv6 ? 129 : 0),
          reply.dropFirst(4).elementsEqual(request.dropFirst(4))
        else { continue }
        return clock.now - start
      }
    }
  }

  /// RFC 792 and RFC 4443. The kernel fills in ICMPv6's checksum, which covers the addresses.
  private static func request(isIPv6: Bool, sequence: UInt16) -> [UInt8] {
    var packet: [UInt8] = [isIPv6 ? 128 : 8, 0, 0, 0, 0xd0, 0x12]
    packet += [UInt8(sequence >> 8), UInt8(sequence & 0xff)]
    packet += Array("dormouse lab ping, 40 bytes with the rest".utf8.prefix(40))
    guard !isIPv6 else { return packet }
    var sum: UInt32 = 0
    for index in stride(from: 0, to: packet.count, by: 2) {
      sum += UInt32(packet[index]) << 8 | UInt32(packet[index + 1])
    }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    packet[2] = UInt8(~sum >> 8 & 0xff)
    packet[3] = UInt8(~sum & 0xff)
    return packet
  }
}
