/// The steps of falling asleep, in order. Each is journaled before it acts, so the journal names the last
/// step that may have begun; ``asleep`` alone is written after the fact.
public enum SleepStep: String, CaseIterable, Sendable {
  /// Checks only; nothing has been touched.
  case preparing
  /// The sentry is told to hold what the detour will deliver.
  case arming
  /// The detour is engaged.
  case detouring
  /// The vCPUs are stopped.
  case pausing
  /// The sentry looks at the last frames and takes over.
  case committing
  /// Guest RAM goes to swap.
  case pagingOut
  /// All is done.
  case asleep

  /// The name of the failpoint at this step.
  public var failpoint: String { "sleep." + rawValue }
}

/// The steps of waking as the daemon sees them; the sentry does the waking itself.
public enum WakeStep: String, CaseIterable, Sendable {
  /// Somebody ordered it, the sentry is about to be told.
  case ordered
  /// The sentry has said that it is waking the VM.
  case noticed
  /// The sentry has said that the VM is awake.
  case finished

  public var failpoint: String { "wake." + rawValue }
}
