import Glibc
internal import LinuxMemory
public import LinuxProcess
import LinuxSystem

/// The RAM of a VM as its QEMU process holds it: one shared memfd, mapped in one or more places.
///
/// Found in the process's own maps, so that a VM which somebody else started fits as well, as long as its
/// RAM lies on a memfd (`memory-backend-memfd,share=on`).
public struct GuestMemory: ~Copyable, Sendable {
  /// Where it is, which does not change while QEMU lives.
  public let place: Place
  /// The memfd, by a descriptor of our own.
  let memory: OwnedFileDescriptor

  /// Where the RAM is mapped in QEMU's address space, with each mapping's offset in the memfd.
  public var mappings: [Mapping] { place.mappings }
  /// Size of the memfd in bytes.
  public var size: UInt64 { place.size }

  /// Where a VM's RAM is to be found, for whoever needs it again in a hurry. Holds nothing open.
  public struct Place: Hashable, Sendable {
    let mappings: [Mapping]
    let size: UInt64
    /// The number of the memfd's descriptor in QEMU, and the memfd's own.
    let descriptor: CInt
    let inode: UInt64
  }

  public struct Mapping: Hashable, Sendable {
    public let addresses: Range<UInt>
    public let offset: UInt64
  }

  /// The name that QEMU gives the memfd of a `memory-backend-memfd`; the auxiliary RAM blocks of
  /// `aux-ram-share=on` (ROMs, video memory) have names of their own and stay where they are.
  static let memfdName = "/memfd:memory-backend-memfd (deleted)"

  /// Finds a VM's RAM.
  ///
  /// - Parameters:
  ///   - process: the QEMU process.
  ///   - expectedBytes: the VM's memory; what is found must be as large.
  /// - Throws: ``SuspendError`` `.unpageable` with the reason when the VM's memory cannot be paged out,
  ///   `LinuxError` when the process has ended or cannot be looked into.
  public init(of process: borrowing ProcessHandle, expectedBytes: UInt64) throws {
    let pid = process.identity.pid
    let found = try MemoryMap.read(pid: pid).filter { mapping in
      mapping.shared && mapping.writable && mapping.path == Self.memfdName
    }
    guard let first = found.first else {
      throw SuspendError(
        .unpageable,
        "the VM's memory is not on a shared memfd; only a VM whose machine description Dormouse "
          + "made, or one with memory-backend-memfd,share=on, can sleep in swap")
    }
    guard found.allSatisfy({ $0.inode == first.inode && $0.device == first.device }) else {
      throw SuspendError(.unpageable, "the VM's memory is spread over several memfds")
    }
    let descriptors = try ProcessInspection.descriptors(of: pid)
    try Self.refuseUnpageableDevices(descriptors.map(\.target))

    guard let number = try Self.memfd(inode: first.inode, descriptors, of: process) else {
      throw SuspendError(.unpageable, "QEMU no longer holds the memfd of the VM's memory")
    }
    let memory = try process.duplicateDescriptor(number)
    var status = stat()
    try checked("look at the VM's memory", fstat(memory.rawValue, &status))
    guard UInt64(status.st_size) == expectedBytes else {
      throw SuspendError(
        .unpageable,
        "the VM's memory is \(status.st_size) bytes where \(expectedBytes) were expected")
    }
    // By file system, not by block size: a memfd whose small pages the kernel may merge into large ones
    // (transparent_hugepage/shmem_enabled) has a large block size too, and is swapped all the same.
    guard try !HugePages.hold(memory.rawValue) else {
      throw SuspendError(
        .unpageable, "the VM's memory is in huge pages (hugetlbfs), which are never swapped")
    }
    guard try ProcessMemory.lockedBytes(pid: pid) == 0 else {
      throw SuspendError(
        .unpageable, "the VM's memory is locked (mlock), so it cannot be paged out")
    }

    self.place = Place(
      mappings: found.map { Mapping(addresses: $0.start..<$0.end, offset: $0.offset) },
      size: UInt64(status.st_size), descriptor: number, inode: first.inode)
    self.memory = memory
  }

  /// Takes hold of a VM's RAM again, without a search.
  ///
  /// - Throws: ``SuspendError`` `.unpageable` when it is no longer there, `LinuxError` when the process has
  ///   ended.
  public init(at place: Place, of process: borrowing ProcessHandle) throws {
    let memory = try process.duplicateDescriptor(place.descriptor)
    var status = stat()
    try checked("look at the VM's memory", fstat(memory.rawValue, &status))
    guard status.st_ino == place.inode, UInt64(status.st_size) == place.size else {
      throw SuspendError(.unpageable, "QEMU no longer holds the memfd of the VM's memory")
    }
    self.place = place
    self.memory = memory
  }

  /// Devices that reach into guest memory behind the kernel's back, or whose memory the kernel cannot
  /// read: their VMs stay awake.
  package static func refuseUnpageableDevices(_ targets: [String]) throws(SuspendError) {
    for target in targets {
      if target.hasPrefix("/dev/vfio/") || target.contains("[vfio-device]") {
        throw SuspendError(
          .unpageable, "the VM has a passed-through device (VFIO), which pins its memory")
      }
      if target == "/dev/sev" || target.contains("[kvm-gmem]") {
        throw SuspendError(
          .unpageable, "the VM's memory is encrypted (SEV or TDX) and cannot be paged out")
      }
    }
  }

  private static func memfd(
    inode: UInt64, _ descriptors: [(number: CInt, target: String)],
    of process: borrowing ProcessHandle
  ) throws -> CInt? {
    for descriptor in descriptors where descriptor.target == memfdName {
      let candidate = try process.duplicateDescriptor(descriptor.number)
      var status = stat()
      try checked("look at a memfd of QEMU's", fstat(candidate.rawValue, &status))
      if status.st_ino == inode { return descriptor.number }
    }
    return nil
  }

  /// Bytes of the RAM that are in the page cache: those that cost the host memory.
  public borrowing func residentBytes() throws -> UInt64 {
    try Residency.cachedBytes(of: memory.rawValue)
  }

  /// Bytes of the RAM whose contents swap holds and that cost the host memory all the same: paged out and
  /// not freed yet, or read ahead from swap.
  borrowing func swapCachedBytes() throws(LinuxError) -> UInt64 {
    // mincore(2) counts the swap cache, the other count does not.
    let held = try Residency.mincoreRanges(of: memory.rawValue, size: size)
      .reduce(0) { $0 + UInt64($1.count) }
    return held - min(held, try Residency.cachedBytes(of: memory.rawValue))
  }

  /// Bytes of the RAM that are in swap, whenever they got there.
  public borrowing func swappedBytes() throws -> UInt64 {
    var status = stat()
    try checked("look at the VM's memory", fstat(memory.rawValue, &status))
    // What is allocated is in memory or in swap.
    let allocated = UInt64(status.st_blocks) * 512
    return allocated - min(allocated, try residentBytes())
  }
}

extension GuestMemory.Place {
  /// The addresses in QEMU at which the RAM is mapped.
  public var addresses: [Range<UInt>] { mappings.map(\.addresses) }

  /// Translates QEMU's addresses into offsets in the memfd, in the same order; other addresses are left
  /// out.
  package func offsets(of addresses: [Range<UInt>]) -> [Range<UInt64>] {
    var offsets: [Range<UInt64>] = []
    for range in addresses {
      for mapping in mappings where mapping.addresses.overlaps(range) {
        let part = range.clamped(to: mapping.addresses)
        let start = mapping.offset + UInt64(part.lowerBound - mapping.addresses.lowerBound)
        offsets.append(start..<(start + UInt64(part.count)))
      }
    }
    return offsets
  }
}
