public import Frames

/// Why a VM may not be put to sleep at this moment.
public enum Obstacle: Hashable, Sendable, CustomStringConvertible {
  /// Frames were missed, or watching has just begun.
  case settling
  /// More of the same use is likely to come.
  case usedJustNow
  /// The guest may still be working on what it was sent.
  case unanswered
  /// No address of the guest's is known for certain: nothing could be answered.
  case noAddress
  /// The guest uses more addresses than there is room for.
  case tooManyAddresses
  /// Frames with another source than the guest's MAC come from it.
  case foreignSource(MACAddress)
  /// A connection is being established.
  case handshake(FlowDescription)
  /// The guest has sent data that its peer has not acknowledged.
  case unacknowledged(FlowDescription, bytes: UInt32)
  /// A connection appeared just now, and what its peer has acknowledged was not seen yet.
  case newFlow(FlowDescription)
  /// The guest has closed, and its peer has not acknowledged that.
  case finishInFlight(FlowDescription)
  /// The guest has not yet acknowledged what it was sent.
  case undelivered(FlowDescription)
  /// Nobody can speak for the guest's side of a connection: another machine has claimed its address, or the
  /// guest has never asserted it.
  case unprovenAddress(FlowDescription)
  /// The guest has no room for more data, and must say so when it has.
  case guestWindowClosed(FlowDescription)
  /// The peer has no room: the guest may be holding data back, and must probe.
  case peerWindowClosed(FlowDescription)

  public var description: String {
    switch self {
    case .settling:
      "its traffic has not been watched without a gap for long enough"
    case .usedJustNow:
      "it was used less than half a second ago"
    case .unanswered:
      "it was sent something less than two seconds ago that it may still answer"
    case .noAddress:
      "no address of the guest is known yet"
    case .tooManyAddresses:
      "the guest uses more addresses than can be answered for"
    case .foreignSource(let mac):
      "the guest sends frames as \(mac) too"
    case .handshake(let flow):
      "a connection is being established (\(flow))"
    case .unacknowledged(let flow, let bytes):
      "\(bytes) bytes that the guest sent are not acknowledged (\(flow))"
    case .newFlow(let flow):
      "a connection has just been noticed (\(flow))"
    case .finishInFlight(let flow):
      "the end of a connection is not acknowledged (\(flow))"
    case .undelivered(let flow):
      "the guest has not acknowledged what it was sent (\(flow))"
    case .unprovenAddress(let flow):
      "a connection's address may not be the guest's (\(flow))"
    case .guestWindowClosed(let flow):
      "the guest's receive window is closed (\(flow))"
    case .peerWindowClosed(let flow):
      "the peer's receive window is closed (\(flow))"
    }
  }
}
