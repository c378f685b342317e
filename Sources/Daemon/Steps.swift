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

/// The steps of starting a VM. Only the beginning and the end are journaled: what lies between is told by
/// the VM's control group, its record and QEMU itself.
public enum StartStep: String, CaseIterable, Sendable {
  /// The VM's control group exists, no process yet.
  case launching
  /// QEMU runs, and no record says so.
  case launched
  /// The VM's record names its QEMU.
  case recorded
  /// The sentry knows the VM; its guest has not run yet.
  case guarded
  /// The guest runs; the journal still says that it is being started.
  case running

  public var failpoint: String { "start." + rawValue }
}

/// The steps of saving a VM as a template. Journaled are ``saving``, up to ``ending`` all of it is undone
/// after a crash, and ``ending``, from which on it is finished.
public enum SaveStep: String, CaseIterable, Sendable {
  /// The template's directory exists; the VM still runs.
  case saving
  /// The VM is paused and its state written.
  case written
  /// All but the template's last file is on the disk; the VM is about to end.
  case ending
  /// QEMU has ended, and there is no template yet.
  case ended

  public var failpoint: String { "save." + rawValue }
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
