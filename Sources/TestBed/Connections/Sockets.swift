import Glibc
import LinuxSystem

/// Sockets as the client's connections need them. All calls belong on a thread that may block.
enum Sockets {
  /// Connects to a numeric address and sets keepalives.
  static func connectTCP(
    to address: String, port: UInt16, keepalive: Keepalive?, within deadline: Duration
  ) throws -> OwnedFileDescriptor {
    let socket = try connect(
      type: CInt(SOCK_STREAM.rawValue), to: address, port: port, within: deadline)
    let number = socket.rawValue
    try set(number, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
    if let keepalive {
      try set(number, CInt(IPPROTO_TCP), TCP_KEEPIDLE, CInt(keepalive.idleSeconds))
      try set(number, CInt(IPPROTO_TCP), TCP_KEEPINTVL, CInt(keepalive.intervalSeconds))
      try set(number, CInt(IPPROTO_TCP), TCP_KEEPCNT, CInt(keepalive.probes))
      try set(number, SOL_SOCKET, SO_KEEPALIVE, 1)
    }
    return socket
  }

  /// A UDP socket that sends to, and receives from, one address only.
  static func connectUDP(to address: String, port: UInt16) throws -> OwnedFileDescriptor {
    try connect(type: CInt(SOCK_DGRAM.rawValue), to: address, port: port, within: .seconds(1))
  }

  /// A raw ICMP or ICMPv6 socket (raw(7)), connected.
  static func connectICMP(to address: String) throws -> OwnedFileDescriptor {
    try connect(
      type: CInt(SOCK_RAW.rawValue), to: address, port: 0, within: .seconds(1),
      protocol: address.contains(":") ? CInt(IPPROTO_ICMPV6) : CInt(IPPROTO_ICMP))
  }

  /// How long a receive may wait before it fails with EAGAIN.
  static func setReceiveTimeout(_ socket: CInt, _ timeout: Duration) throws {
    try setTimeout(socket, SO_RCVTIMEO, timeout)
  }

  private static func connect(
    type: CInt, to address: String, port: UInt16, within deadline: Duration,
    protocol number: CInt = 0
  ) throws -> OwnedFileDescriptor {
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
    hints.ai_socktype = type
    hints.ai_protocol = number
    var result: UnsafeMutablePointer<addrinfo>?
    guard
      getaddrinfo(address, type == CInt(SOCK_RAW.rawValue) ? nil : "\(port)", &hints, &result)
        == 0, let found = result
    else {
      throw TestBedError(code: .malformed, message: "\(address) is no address")
    }
    defer { freeaddrinfo(found) }
    let information = found.pointee
    let socket = OwnedFileDescriptor(
      owning: try checked(
        "open a socket",
        Glibc.socket(
          information.ai_family, type | CInt(SOCK_CLOEXEC.rawValue), information.ai_protocol)))
    // connect(2) waits as long as a send may.
    try setTimeout(socket.rawValue, SO_SNDTIMEO, deadline)
    guard Glibc.connect(socket.rawValue, information.ai_addr, information.ai_addrlen) == 0 else {
      let late = errno == EINPROGRESS || errno == EAGAIN || errno == ETIMEDOUT
      let reason = String(cString: strerror(errno))
      throw TestBedError(
        code: late ? .deadline : .connection,
        message: "cannot connect to \(address) port \(port): \(reason)")
    }
    return socket
  }

  private static func setTimeout(_ socket: CInt, _ option: CInt, _ timeout: Duration) throws {
    let (seconds, attoseconds) = timeout.components
    // Zero would mean for ever.
    var value = timeval(
      tv_sec: Int(seconds), tv_usec: max(Int(attoseconds / 1_000_000_000_000), 1))
    try checked(
      "set a socket's time-out",
      setsockopt(
        socket, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<timeval>.size)))
  }

  private static func set(
    _ socket: CInt, _ level: CInt, _ option: CInt, _ value: CInt
  ) throws {
    var value = value
    try checked(
      "set a socket's option",
      setsockopt(socket, level, option, &value, socklen_t(MemoryLayout<CInt>.size)))
  }
}
