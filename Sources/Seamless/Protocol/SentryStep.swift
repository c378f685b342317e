/// The steps of the sentry's work, in order: where a test may let it die or halt.
public enum SentryStep: String, CaseIterable, Sendable {
  /// Told to hold what the detour will deliver; nothing has been done yet.
  case arming
  /// Told to take over from a paused VM; nothing has been done yet.
  case committing
  /// It has taken over, and has not said so yet.
  case answering
  /// It has decided to wake the VM; QEMU does not know yet.
  case deciding
  /// `cont` is in QEMU's socket.
  case continueSent
  /// QEMU has continued the VM; the held frames are still held.
  case continued
  /// The held frames have been given to the guest; the detour is still engaged.
  case replayed
  /// The detour is gone; the daemon does not know yet that the VM is awake.
  case released

  /// The name of the failpoint at this step.
  public var failpoint: String { "sentry." + rawValue }
}
