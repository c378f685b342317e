import CLinux

/// How many files a process may have open (RLIMIT_NOFILE, getrlimit(2)).
public enum DescriptorLimit {
  /// Raises the soft limit to the hard one, which needs no privilege, and which programs inherit that are
  /// started afterwards. The usual soft limit of 1024 is for programs that use select(2).
  ///
  /// - Returns: the limit that now holds.
  @discardableResult
  public static func raise() throws(LinuxError) -> Int {
    Int(clamping: try checked("raise the limit of open files", dormouse_raise_descriptor_limit()))
  }
}
