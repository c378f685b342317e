import Seamless

/// Where the sentry is silent and the awake guest is not, on purpose. There is no way to excuse an answer
/// here: one that differs, or that the guest would not give, is always wrong.
public struct DesignedSilence: Sendable {
  /// A short name; `docs/presence.md` has a row for each.
  public let name: String
  public let reason: String
  let applies: @Sendable (DifferentialFrame, Verdict) -> Bool

  public static let all: [DesignedSilence] = [
    DesignedSilence(
      name: "held", reason: "FIN and RST are kept for the guest, which sees them when it wakes."
    ) { _, verdict in
      if case .hold = verdict { true } else { verdict == .ignore(.heldAlready) }
    },
    DesignedSilence(
      name: "group",
      reason: """
        A packet to a group or to everybody on the link, other than ARP, neighbour discovery and \
        membership queries, would have every sleeping machine answer, or wake.
        """
    ) { frame, verdict in
      verdict == .ignore(.group) && frame.bytes[0] & 1 == 1
    },
    DesignedSilence(
      name: "closedPort",
      reason: """
        A datagram for a port that the guest has refused to somebody else, or one more than the limit of \
        ICMP errors: nobody waits for the news that nobody listens, and waking would be no use.
        """
    ) { frame, verdict in
      verdict == .ignore(.closedPort) && AnswerKey.transport(of: frame.bytes) == Above.udp
    },
    DesignedSilence(
      name: "loop",
      reason: """
        A frame that says to come from the guest itself; an answer would confuse switches. The awake guest \
        is not sent the TCP segments among these: it takes them.
        """
    ) { frame, verdict in verdict == .ignore(.loop) },
  ]

  static func excusing(_ frame: DifferentialFrame, _ verdict: Verdict) -> DesignedSilence? {
    all.first { $0.applies(frame, verdict) }
  }
}
