import CLinux
public import LinuxSystem

/// Memory in pages that an administrator has set aside (hugetlbfs; kernel documentation
/// `admin-guide/mm/hugetlbpage.rst`). Not to be mixed up with transparent huge pages, which the kernel
/// splits and swaps as it likes.
public enum HugePages {
  /// Whether a file, such as a memfd, is made of them. They are never swapped.
  public static func hold(_ file: CInt) throws(LinuxError) -> Bool {
    try checked("ask for a file's file system", dormouse_is_hugetlbfs(file)) == 1
  }
}
