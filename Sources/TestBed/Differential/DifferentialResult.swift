/// What a run of the differential tester has found.
public struct DifferentialResult: Sendable {
  public let seed: UInt64
  public internal(set) var rounds = 0
  /// Frames judged; each is in exactly one of the five counts that follow.
  public internal(set) var frames = 0
  /// Answered by both in the same way.
  public internal(set) var sameAnswer = 0
  /// Answered by nobody.
  public internal(set) var bothSilent = 0
  /// Left to the guest: the sentry wakes it.
  public internal(set) var woken = 0
  /// The guest answers, the sentry does not, on purpose; by the name of ``DesignedSilence``.
  public internal(set) var silentByDesign: [String: Int] = [:]
  public internal(set) var differences: [Difference] = []
  /// Sleeps that one of the frames really ended, and those whose answer was the awake guest's.
  public internal(set) var wakesTried = 0
  public internal(set) var wakesAnswered = 0
  /// Frames by kind, and how many of them the sentry answered.
  public internal(set) var kinds: [String: Kind] = [:]
  public internal(set) var seconds = 0.0
  /// When the sentry was last asked what it may answer by an ICMP error.
  var lastErrors: ContinuousClock.Instant?

  public struct Kind: Sendable, Hashable {
    public internal(set) var frames = 0
    public internal(set) var answered = 0
    public internal(set) var woken = 0
  }

  /// A frame that the sentry treats otherwise than the guest.
  public struct Difference: Sendable, CustomStringConvertible {
    public let number: Int
    public let frame: String
    public let description: String
  }

  init(seed: UInt64) { self.seed = seed }
}
