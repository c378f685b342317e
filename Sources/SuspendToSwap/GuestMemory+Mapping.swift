import LinuxSystem

extension GuestMemory {
  /// All of it in this process, for reading. For a moment only: a page that two processes have mapped is not
  /// paged out.
  borrowing func mapped() throws(LinuxError) -> MappedFile {
    try MappedFile(memory.rawValue, "the VM's memory", size: size, for: .reading)
  }
}

extension MappedFile {
  /// Starts reading parts of it, as far as the kernel will.
  borrowing func request(_ ranges: [Range<UInt64>]) {
    for range in ranges { try? advise(.willNeed, range, to: "read the VM's memory") }
  }

  /// Reads a part of it. Whether it is in the page table then: before Linux 5.14 it only comes as far as the
  /// swap cache, where a fault finds it.
  @discardableResult
  borrowing func populate(_ range: Range<UInt64>) -> Bool {
    do {
      try advise(.populate, range, to: "read the VM's memory")
      return true
    } catch {
      return false
    }
  }
}
