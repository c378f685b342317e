import CLinux

/// What the calling thread may ask of the host's disks.
public enum DiskPriority {
  /// From now on this thread gets a disk only when nobody else wants it (ioprio_set(2), the idle class), if
  /// the disk's scheduler tells threads apart; otherwise nothing changes.
  public static func yieldToAll() {
    _ = dormouse_idle_io_priority()
  }
}
