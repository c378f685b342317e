import CLinux
public import LinuxSystem
import SystemPackage

/// A raw packet socket on one interface (packet(7)). Never waits.
public struct PacketSocket: ~Copyable, Sendable {
  /// What the socket is for; one does not do the other's work.
  public enum Mode: Hashable, Sendable {
    /// Sees copies of all frames of the interface in both directions, each cut to that many bytes.
    case learning(snapLength: Int)
    /// Sends frames straight to the interface's driver, past its filters and queueing discipline,
    /// and receives nothing. Bound to interface 0 it serves all: see ``send(_:onInterface:)``.
    case injecting
  }

  /// Which way a frame passed an interface that leads to a guest.
  public enum Direction: Hashable, Sendable {
    /// The host sent it out of the interface.
    case toGuest
    /// The host received it from the interface.
    case fromGuest
  }

  /// What is known of a received frame besides its bytes.
  public struct ReceivedFrame: Hashable, Sendable {
    /// Bytes in the caller's buffer: the frame's beginning.
    public var capturedLength: Int
    /// Bytes of the whole frame, without a VLAN tag that was taken out.
    public var originalLength: Int
    /// Which way it passed.
    public var direction: Direction
    /// The interface that it passed.
    public var interface: CInt
    /// The 802.1Q tag control information that the kernel took out of the frame.
    public var vlanTag: UInt16?
    /// Whether the transport checksum is left to a later stage, so that the one in the frame is
    /// wrong.
    public var hasPendingChecksum: Bool
  }

  private let socket: OwnedFileDescriptor

  /// Readable (poll(2)) when ``receive(into:)`` has something. It belongs to this value.
  public var descriptor: CInt { socket.rawValue }

  /// Opens a socket on an interface of the calling thread's network namespace.
  ///
  /// - Parameters:
  ///   - index: the interface; 0 for all of the namespace's, in one order, to listen to
  ///   - mode: listen or send
  ///   - receiveBuffer: the most memory that waiting frames may take, in bytes as the kernel
  ///     counts (a whole frame and some hundred bytes for each, however short it was cut); frames
  ///     beyond it are lost and counted. Without CAP_NET_ADMIN at most `net.core.rmem_max`.
  public static func open(
    onInterface index: CInt, mode: Mode, receiveBuffer: Int = 1 << 20
  ) throws(LinuxError) -> PacketSocket {
    let operation = "open a packet socket on interface \(index)"
    let socket = OwnedFileDescriptor(owning: try checked(operation, dormouse_packet_open()))
    let number = socket.rawValue
    switch mode {
    case .learning(let snapLength):
      guard snapLength > 0, receiveBuffer > 0 else { throw LinuxError(operation, .invalidArgument) }
      // Bound last, so that no frame arrives that was not filtered.
      try checked(
        operation, dormouse_packet_set_snap_length(number, UInt32(clamping: snapLength)))
      // The kernel doubles what it is asked for, to account for its own overhead.
      try checked(
        operation,
        dormouse_packet_set_receive_buffer(number, CInt(clamping: receiveBuffer / 2)))
      try checked(operation, dormouse_packet_set_flag(number, PACKET_AUXDATA, 1))
      try checked(operation, dormouse_packet_bind(number, index, UInt16(ETH_P_ALL)))
    case .injecting:
      try checked(operation, dormouse_packet_set_flag(number, PACKET_QDISC_BYPASS, 1))
      try checked(operation, dormouse_packet_bind(number, index, 0))
    }
    return PacketSocket(socket: socket)
  }

  private init(socket: consuming OwnedFileDescriptor) {
    self.socket = socket
  }

  /// Takes the descriptor of a packet socket that another process has opened and passed on.
  public init(adopting descriptor: consuming OwnedFileDescriptor) {
    self.init(socket: descriptor)
  }

  /// The next frame, or nil if there is none now. A frame longer than the buffer is cut.
  ///
  /// Fails with `ENETDOWN` once when the interface goes down; it may come back.
  public borrowing func receive(
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(LinuxError) -> ReceivedFrame? {
    var packet = dormouse_packet()
    while dormouse_packet_receive(
      socket.rawValue, buffer.baseAddress, buffer.count, &packet) == -1
    {
      switch Errno(rawValue: dormouse_errno()) {
      case .interrupted: continue
      case .resourceTemporarilyUnavailable: return nil
      case let failure: throw LinuxError("receive from a packet socket", failure)
      }
    }
    return ReceivedFrame(
      capturedLength: Int(packet.captured), originalLength: Int(packet.original_length),
      direction: CInt(packet.type) == PACKET_OUTGOING ? .toGuest : .fromGuest,
      interface: packet.interface,
      vlanTag: packet.has_vlan_tag == 0 ? nil : packet.vlan_tag,
      hasPendingChecksum: packet.checksum_pending != 0)
  }

  /// As ``receive(into:)-(UnsafeMutableRawBufferPointer)``, into an array whose size stays as it
  /// is.
  public borrowing func receive(into buffer: inout [UInt8]) throws(LinuxError) -> ReceivedFrame? {
    try buffer.withUnsafeMutableBufferPointer { bytes throws(LinuxError) in
      try receive(into: UnsafeMutableRawBufferPointer(bytes))
    }
  }

  /// Hands a complete Ethernet frame to the interface's driver, as if the host had sent it.
  ///
  /// Fails with `ENOBUFS` if the driver's queue is full or the interface has no carrier, with
  /// `ENETDOWN` if it is down, and with `EMSGSIZE` if the frame is longer than its MTU allows.
  public borrowing func send(_ frame: UnsafeRawBufferPointer) throws(LinuxError) {
    try send(frame, onInterface: 0)
  }

  /// As ``send(_:)``, on an interface of the namespace that the socket was opened in.
  public borrowing func send(
    _ frame: UnsafeRawBufferPointer, onInterface index: CInt
  ) throws(LinuxError) {
    while true {
      let sent = dormouse_packet_send(socket.rawValue, index, frame.baseAddress, frame.count)
      if sent >= 0 { return }
      let failure = Errno(rawValue: dormouse_errno())
      if failure != .interrupted {
        throw LinuxError("send a frame of \(frame.count) bytes", failure)
      }
    }
  }

  /// From now on sees that many bytes of each frame; with 0, none of the frames, which then cost next to
  /// nothing. What has been caught already stays to be received.
  public borrowing func setSnapLength(_ length: Int) throws(LinuxError) {
    try checked(
      "change what a packet socket sees",
      dormouse_packet_set_snap_length(socket.rawValue, UInt32(clamping: length)))
  }

  /// Frames that were received, the lost ones included, and frames that were lost because nobody
  /// received them in time: both since the last call.
  public borrowing func statistics() throws(LinuxError) -> (received: Int, dropped: Int) {
    var received: UInt32 = 0
    var dropped: UInt32 = 0
    try checked(
      "read the statistics of a packet socket",
      dormouse_packet_statistics(socket.rawValue, &received, &dropped))
    return (Int(received), Int(dropped))
  }
}
