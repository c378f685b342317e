/// Why a VM was woken, as a stable word: it appears in events, in `dormouse show` and in JSON.
///
/// Traffic has many causes (`payload`, `syn`, `udp` …), which the sentry's verdicts name; the ones below
/// come from the host.
public struct WakeCause: RawRepresentable, Codable, Hashable, Sendable {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  /// Somebody asked for it.
  public static let order = WakeCause(rawValue: "order")
  /// Falling asleep failed or was interrupted, and was undone.
  public static let undo = WakeCause(rawValue: "undo")
  /// The sentry has not heard of the daemon for too long.
  public static let daemonLost = WakeCause(rawValue: "daemonLost")
  /// The daemon lost its sentry and woke the VM itself.
  public static let sentryLost = WakeCause(rawValue: "sentryLost")
  /// A daemon of another release came, whose protocol this sentry does not speak.
  public static let sentryReplaced = WakeCause(rawValue: "sentryReplaced")
  /// Somebody removed the detour's filter.
  public static let detourRemoved = WakeCause(rawValue: "detourRemoved")
  /// The daemon started anew and found the VM in a state that it could not trust.
  public static let recovery = WakeCause(rawValue: "recovery")
  /// QEMU was continued by somebody else.
  public static let outside = WakeCause(rawValue: "outside")
}
