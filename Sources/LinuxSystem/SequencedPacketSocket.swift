import CLinux
import Glibc
import SystemPackage

/// A connected Unix socket that keeps message boundaries and carries descriptors (AF_UNIX, SOCK_SEQPACKET;
/// unix(7)). Close-on-exec, never waits: pair it with ``ReadinessMonitor`` or an event loop of your own.
public struct SequencedPacketSocket: ~Copyable, Sendable {
  private let socket: OwnedFileDescriptor

  /// Takes a connected socket of this kind, such as one inherited from a parent.
  public init(owning socket: consuming OwnedFileDescriptor) {
    self.socket = socket
  }

  /// The descriptor's number, for polling. Valid for as long as this value lives.
  public var descriptor: CInt { socket.rawValue }

  /// Gives up the socket, such as to hand its descriptor to a child.
  public consuming func release() -> OwnedFileDescriptor { socket }

  // MARK: - Making

  /// A listening socket for ``accept(_:)``, close-on-exec and non-blocking. Path, mode and errors as for
  /// ``UnixListener/bind(path:mode:)``.
  public static func listen(
    at path: String, mode: mode_t
  ) throws(LinuxError) -> OwnedFileDescriptor {
    let place = try UnixSocketPath(path)
    let socket = OwnedFileDescriptor(owning: try checked("socket", dormouse_unix_seqpacket()))
    try place.listen(socket, mode: mode)
    return socket
  }

  /// The next waiting connection, or nil when there is none.
  public static func accept(_ listener: CInt) throws(LinuxError) -> SequencedPacketSocket? {
    do throws(Errno) {
      let accepted = try checked(dormouse_unix_accept(listener))
      return SequencedPacketSocket(owning: OwnedFileDescriptor(owning: accepted))
    } catch .resourceTemporarilyUnavailable, .connectionAbort {
      return nil
    } catch {
      throw LinuxError("accept a connection", error)
    }
  }

  /// Connects without waiting. Errors as for ``UnixListener/connect(path:)``.
  public static func connect(to path: String) throws(LinuxError) -> SequencedPacketSocket {
    let place = try UnixSocketPath(path)
    let socket = OwnedFileDescriptor(owning: try checked("socket", dormouse_unix_seqpacket()))
    try place.connect(socket)
    return SequencedPacketSocket(owning: socket)
  }

  /// Two sockets that are connected to each other. Take them apart with
  /// `let first = pair.first; let second = pair.second`.
  @frozen
  public struct Pair: ~Copyable, Sendable {
    public let first: SequencedPacketSocket
    public let second: SequencedPacketSocket
  }

  /// Makes a connected pair.
  public static func pair() throws(LinuxError) -> Pair {
    var ends: [CInt] = [-1, -1]
    try checked("socketpair", dormouse_unix_seqpacket_pair(&ends))
    return Pair(
      first: SequencedPacketSocket(owning: OwnedFileDescriptor(owning: ends[0])),
      second: SequencedPacketSocket(owning: OwnedFileDescriptor(owning: ends[1])))
  }

  // MARK: - Talking

  /// Sends one packet. The kernel duplicates the descriptors; the caller keeps its own.
  ///
  /// - Throws: ``LinuxError/Code/exhausted`` when the peer's queue is full (nothing was sent),
  ///   ``LinuxError/Code/gone`` when the peer has closed, ``LinuxError/Code/malformed`` for an empty packet
  ///   (a receiver could not tell it from the end of the stream) or more than 253 descriptors.
  public borrowing func send(
    _ bytes: [UInt8], descriptors: [CInt] = []
  ) throws(LinuxError) {
    guard !bytes.isEmpty, descriptors.count <= dormouse_message_descriptors_max else {
      throw LinuxError(
        code: .malformed,
        message:
          "a packet of \(bytes.count) bytes and \(descriptors.count) descriptors cannot be sent")
    }
    try checked(
      "send a packet",
      dormouse_message_send(
        socket.rawValue, bytes, bytes.count, descriptors, descriptors.count))
  }

  /// What ``receive(maximumBytes:maximumDescriptors:)`` found.
  public struct Received: ~Copyable, Sendable {
    /// The packet; empty at the end of the stream.
    public let bytes: [UInt8]
    /// The peer has closed; there will be no further packet.
    public let endOfStream: Bool
    private var descriptors: [CInt]

    fileprivate init(bytes: [UInt8], endOfStream: Bool, descriptors: [CInt]) {
      self.bytes = bytes
      self.endOfStream = endOfStream
      self.descriptors = descriptors
    }

    /// How many descriptors came along and were not taken yet.
    public var descriptorCount: Int { descriptors.count }

    /// The descriptors that came along, in the sender's order, close-on-exec. From now on they are the
    /// caller's: wrap each in an ``OwnedFileDescriptor``. Those never taken close with this value.
    public mutating func takeDescriptors() -> [CInt] {
      let taken = descriptors
      descriptors = []
      return taken
    }

    deinit {
      for descriptor in descriptors { _ = dormouse_close(descriptor) }
    }
  }

  /// Receives one packet; nil when none is waiting.
  ///
  /// - Throws: ``LinuxError/Code/malformed`` when the packet or its descriptors exceed the given bounds; the
  ///   packet is lost and its descriptors are closed.
  public borrowing func receive(
    maximumBytes: Int, maximumDescriptors: Int
  ) throws(LinuxError) -> Received? {
    let capacity = dormouse_message_descriptors_max
    var descriptors = [CInt](repeating: -1, count: capacity)
    var descriptorCount = 0
    var truncated: CInt = 0
    var count = 0
    var failure: Errno?
    let bytes = [UInt8](unsafeUninitializedCapacity: max(maximumBytes, 1)) { buffer, initialized in
      do throws(Errno) {
        // A peer that closed without reading all it was sent leaves ECONNRESET in front of the packets it
        // had sent itself; the error is reported once, the packets are still there.
        do throws(Errno) {
          count = try checked(
            dormouse_message_receive(
              socket.rawValue, buffer.baseAddress, buffer.count, &descriptors, &descriptorCount,
              &truncated))
        } catch .connectionReset {
          count = try checked(
            dormouse_message_receive(
              socket.rawValue, buffer.baseAddress, buffer.count, &descriptors, &descriptorCount,
              &truncated))
        }
        initialized = count
      } catch {
        failure = error
        initialized = 0
      }
    }
    if failure == .resourceTemporarilyUnavailable { return nil }
    if let failure { throw LinuxError("receive a packet", failure) }
    let received = Received(
      bytes: bytes, endOfStream: count == 0, descriptors: Array(descriptors.prefix(descriptorCount))
    )
    if truncated != 0 || descriptorCount > maximumDescriptors {
      throw LinuxError(
        code: .malformed,
        message: """
          a packet exceeds the bounds of \(maximumBytes) bytes and \(maximumDescriptors) descriptors
          """)
    }
    return received
  }

  /// Who the peer is.
  public borrowing func peerCredentials() throws(LinuxError) -> PeerCredentials {
    try PeerCredentials(of: socket.rawValue)
  }
}
