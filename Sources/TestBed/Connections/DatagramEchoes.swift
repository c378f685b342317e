import Glibc
import LinuxSystem

extension LabClient {
  /// Sends one datagram to an echo service and counts its answers, so that one that was delivered twice
  /// shows.
  ///
  /// - Parameters:
  ///   - deadline: for the first answer.
  ///   - afterwards: how long to wait for more.
  /// - Returns: how many came with the same bytes, and the delay of the first; nil when none came.
  public func countDatagramEchoes(
    _ bytes: [UInt8], to address: String, port: UInt16 = 7777, within deadline: Duration,
    andFor afterwards: Duration = .seconds(1)
  ) async throws -> (count: Int, delay: Duration)? {
    try await namespace.perform {
      let socket = try Sockets.connectUDP(to: address, port: port)
      let clock = ContinuousClock()
      let start = clock.now
      var end = start + deadline
      try checked("send a datagram", Glibc.send(socket.rawValue, bytes, bytes.count, 0))
      var buffer = [UInt8](repeating: 0, count: 65_536)
      var count = 0
      var first: Duration?
      while clock.now < end {
        try Sockets.setReceiveTimeout(socket.rawValue, end - clock.now)
        let length = recv(socket.rawValue, &buffer, buffer.count, 0)
        guard length >= 0, buffer[..<length].elementsEqual(bytes) else { continue }
        count += 1
        if first == nil {
          first = clock.now - start
          end = clock.now + afterwards
        }
      }
      return first.map { (count, $0) }
    }
  }
}
