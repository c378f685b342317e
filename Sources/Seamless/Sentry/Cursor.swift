import Frames

/// Names a TCP connection of the guest's. The guest's own address stands as its place among the
/// learned addresses.
public struct FlowKey: Hashable, Sendable {
  public var localIndex: Int
  public var localPort: UInt16
  public var remote: IPAddress
  public var remotePort: UInt16

  public init(localIndex: Int, localPort: UInt16, remote: IPAddress, remotePort: UInt16) {
    self.localIndex = localIndex
    self.localPort = localPort
    self.remote = remote
    self.remotePort = remotePort
  }
}

/// Where a TCP connection of the guest's stands: all that is needed to restate it.
public struct Cursor: Hashable, Sendable {
  public struct Flags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
      self.rawValue = rawValue
    }

    /// The guest's last segment carried timestamps.
    public static let timestamps = Flags(rawValue: 1 << 0)
    /// The handshake has been seen to begin and not to end.
    public static let handshake = Flags(rawValue: 1 << 1)
    /// The guest has sent its FIN.
    public static let guestFinished = Flags(rawValue: 1 << 2)
    /// The peer has sent its FIN.
    public static let peerFinished = Flags(rawValue: 1 << 3)
    /// `guestAcknowledgement` and `guestWindow` are known.
    public static let guestKnown = Flags(rawValue: 1 << 4)
    /// `peerAcknowledgement` and `peerWindowClosed` were seen, not assumed.
    public static let peerKnown = Flags(rawValue: 1 << 5)
    /// `peerEnd` is known.
    public static let peerEndKnown = Flags(rawValue: 1 << 6)
    /// `peerTimestamp` is known.
    public static let peerTimestampKnown = Flags(rawValue: 1 << 7)
    /// The guest's SYN was seen, so that `sackPermitted` says something.
    public static let openingKnown = Flags(rawValue: 1 << 8)
    /// Both sides permit selective acknowledgements.
    public static let sackPermitted = Flags(rawValue: 1 << 9)
    /// The guest's last segment told of congestion (RFC 3168).
    public static let congestionEchoed = Flags(rawValue: 1 << 10)
    /// The last window that the peer sent was closed.
    public static let peerWindowClosed = Flags(rawValue: 1 << 11)
    /// The guest sends to another station than the peer's segments come from, as behind a pair of routers.
    public static let goesAnotherWay = Flags(rawValue: 1 << 12)
    /// `guestSequence` was set by what the peer acknowledges, and the guest has not sent from there on yet.
    public static let sequenceGuessed = Flags(rawValue: 1 << 13)
  }

  public var key: FlowKey
  public var flags: Flags = []
  /// SND.NXT of the guest: the sequence number after the last that it sent.
  public var guestSequence: UInt32 = 0
  /// RCV.NXT of the guest: the last ACK that it sent.
  public var guestAcknowledgement: UInt32 = 0
  /// The newest TSval that the guest sent.
  public var guestTimestamp: UInt32 = 0
  /// The last window that the guest sent, as on the wire.
  public var guestWindow: UInt16 = 0
  /// The last ACK that the peer sent; assumed from the guest's segments until one is seen.
  public var peerAcknowledgement: UInt32 = 0
  /// The sequence number after the last that the peer sent.
  public var peerEnd: UInt32 = 0
  /// The TSval of the peer that the guest echoes (TS.Recent, RFC 7323, 4.3).
  public var peerTimestamp: UInt32 = 0
  /// The mark of the station that the peer's segments come from (``CursorTable/mark(of:)``); until one was
  /// seen, of the one that the guest sends to.
  public var station: UInt16 = 0
  /// When a segment of the flow was last seen, in seconds of the monotonic clock.
  public var lastSeen: UInt32 = 0
  /// Copies of the peer's FIN seen while the VM sleeps; at most 3.
  public var finishCopies: UInt8 = 0
  /// RSTs held while the VM sleeps; at most 3.
  public var heldResets: UInt8 = 0
  /// Type of service or traffic class of the guest's segments, without the congestion bits.
  public var trafficClass: UInt8 = 0
  /// Flow label of the guest's IPv6 segments.
  public var flowLabel: UInt32 = 0

  public init(key: FlowKey) {
    self.key = key
  }

  /// Whether the peer has acknowledged all that the guest sent.
  var isAcknowledgedByPeer: Bool { !guestSequence.isAfter(peerAcknowledgement) }

  /// Whether the guest has acknowledged all that the peer sent.
  var isAcknowledgedByGuest: Bool {
    !flags.contains(.peerEndKnown)
      || (flags.contains(.guestKnown) && !peerEnd.isAfter(guestAcknowledgement))
  }

  /// Whether both sides have closed and know it.
  var isOver: Bool {
    flags.isSuperset(of: [.guestFinished, .peerFinished]) && isAcknowledgedByPeer
      && isAcknowledgedByGuest
  }
}
