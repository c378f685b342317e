import Glibc
import LinuxSystem

/// Tells the service manager how the daemon fares (sd_notify(3)): a datagram to the socket that
/// `NOTIFY_SOCKET` names. Without that variable nothing is said.
public struct ServiceNotification: Sendable {
  private let path: String?
  /// How often the service manager wants to hear of the daemon, nil when it does not.
  public let watchdogInterval: Duration?

  public init() {
    path = getenv("NOTIFY_SOCKET").map { String(cString: $0) }
    watchdogInterval = getenv("WATCHDOG_USEC")
      .flatMap { Int64(String(cString: $0)) }
      .map { .microseconds($0 / 2) }
  }

  public func send(_ state: String) {
    guard let path, let first = path.utf8.first, path.utf8.count < 108 else { return }
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return }
    let socket = OwnedFileDescriptor(owning: descriptor)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { room in
      room.copyBytes(from: path.utf8)
      // An "@" stands for the zero byte of an abstract name.
      if first == UInt8(ascii: "@") { room[0] = 0 }
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
    let bytes = Array(state.utf8)
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = sendto(
          socket.rawValue, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, length)
      }
    }
  }
}
