internal import LinuxMemory

/// What a QEMU holds beside its guest's RAM: heap, stacks, translated code, programs and libraries, video
/// memory and ROMs.
public struct OwnMemory: Hashable, Sendable {
  /// Where it is mapped, ascending, merged.
  public let addresses: [Range<UInt>]

  /// Finds it in the process's maps, which do not change while QEMU's guest is paused.
  ///
  /// - Parameter guest: the RAM, which is left out.
  /// - Throws: `LinuxError` when the process has ended or cannot be looked into.
  public init(of pid: Int32, beside guest: GuestMemory.Place) throws {
    let mappings = try MemoryMap.read(pid: pid).filter(Self.isPageable).map { $0.start..<$0.end }
    let ram = AddressRanges.merged(guest.addresses)
    addresses = AddressRanges.merged(
      mappings.flatMap { AddressRanges.subtract(ram, from: $0) })
  }

  /// Private memory and memory files. Not what the kernel or a device has put there (`[vvar]`, KVM's pages),
  /// nor files that somebody shares for writing.
  static func isPageable(_ mapping: MemoryMapping) -> Bool {
    guard mapping.readable || mapping.writable || mapping.executable else { return false }
    if mapping.shared { return mapping.path.hasPrefix("/memfd:") }
    return !mapping.path.hasPrefix("[v") && !mapping.path.hasPrefix("/dev/")
      && !mapping.path.hasPrefix("anon_inode:")
  }
}
