/// What is to be done about a frame for a sleeping VM.
public enum Verdict: Hashable, Sendable {
  /// This many replies were appended to the buffer; the frame is done with.
  case answer(Int)
  /// The VM must run. The frame is the first to be replayed into it.
  case wake(WakeReason, FlowDescription?)
  /// Nobody waits for an answer, but the guest must see the frame when it wakes.
  case hold(HoldReason, FlowDescription?)
  /// The guest would do nothing about the frame, or may miss it.
  case ignore(IgnoreReason)
}

/// Why a frame wakes a VM. The raw values are stable.
public enum WakeReason: String, CaseIterable, Hashable, Sendable {
  /// TCP payload that the guest has not received yet.
  case payload
  /// A new TCP connection.
  case syn
  /// A TCP connection is being closed, and the peer insists.
  case fin
  /// A TCP segment of a connection without cursor.
  case unknownFlow
  /// A TCP segment that an honest peer of the connection, as the cursor describes it, does not send
  /// now: old payload, a wrong ACK, a gap.
  case unexpectedSegment
  /// TCP timestamps that are missing, new, older than before or that echo the future.
  case timestamps
  /// A UDP datagram for a port that may have a listener.
  case udp
  /// Part of a packet.
  case fragment
  /// An echo request that is too long to be answered in one frame.
  case oversized
  /// IP options, extension headers or TCP options that only the guest can judge.
  case options
  /// A frame for the guest's MAC and an IP address that is not known to be the guest's.
  case unknownAddress
  /// A question about an address that the guest has used but not asserted.
  case unprovenAddress
  /// A frame for the guest in a VLAN that its address does not belong to.
  case vlan
  /// Another protocol than TCP, UDP and ICMP.
  case unknownProtocol
  /// An ICMP message that some guests answer, or an echo request of which it is not known whether and
  /// which way the guest answers it.
  case icmp
  /// A membership query that asks for more than membership.
  case unexpectedQuery
  /// Another machine claims the guest's address.
  case addressConflict
}

/// Why a frame is kept for the guest. The raw values are stable.
public enum HoldReason: String, CaseIterable, Hashable, Sendable {
  case fin
  case rst
  /// A rule puts it off; see the documentation of rules.
  case deferred
}

/// Why a frame is passed over. The raw values are stable.
public enum IgnoreReason: String, CaseIterable, Hashable, Sendable {
  /// The guest would drop it.
  case malformed
  /// The guest would drop it because of a checksum.
  case badChecksum
  /// It is for another machine.
  case otherMachine
  /// It asks about another machine.
  case otherTarget
  /// The guest's own frame came back.
  case loop
  /// A broadcast or multicast that asks the guest for nothing.
  case group
  /// An acknowledgement of what the guest knows to be acknowledged; answering it could acknowledge
  /// data that was never sent.
  case acknowledgement
  /// A TCP segment that the guest would drop without a word.
  case outOfWindow
  /// Enough of the kind is held already.
  case heldAlready
  /// A UDP port that the guest has said is closed.
  case closedPort
  /// A rule says so.
  case rule
  /// ICMP that no guest answers.
  case icmp
  /// An answer to somebody's question about an address, or news of a router.
  case neighbour
  /// It would wake the VM, as others of doubtful origin did just before.
  case wakeLimit
}
