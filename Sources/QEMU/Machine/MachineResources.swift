/// The open files that a machine is made of, as numbers of descriptors of this process. QEMU runs as a
/// user who may open nothing of it by path.
///
/// The numbers are borrowed: they must stay open until the machine is launched, and closing them
/// afterwards is the owner's business. Locks on disks belong to the open file and not to a process, so a
/// descriptor kept here also keeps the disk locked after QEMU has ended.
public struct MachineResources: Sendable, Hashable {
  /// Listening Unix sockets, one for each monitor; QEMU serves one client at a time on each.
  public var monitors: [CInt]
  /// Listening Unix sockets, one for each of ``MachineDescription/guestChannels``.
  public var guestChannels: [CInt]
  /// Taps, one for each interface, with IFF_VNET_HDR.
  public var taps: [CInt]
  /// Image files, one for each disk, open for reading and writing, or for reading only when the disk
  /// is. The backing file of a qcow2 image is opened by QEMU itself, by its path and as QEMU's own
  /// user: what an image names is never opened with more rights than its machine has.
  public var disks: [CInt]
  /// QEMU opens kernel and initrd anew by way of /proc/self/fd: the directories they lie in may be closed
  /// to it, but their own mode must let its user read.
  public var kernel: CInt?
  public var initrd: CInt?
  /// /dev/kvm, for machines on KVM.
  public var kvm: CInt?
  /// A state that the machine is to continue from instead of booting: open for reading only, written by
  /// ``QMPClient/saveState(to:deadline:)``.
  public var state: CInt?

  public init(
    monitors: [CInt], guestChannels: [CInt], taps: [CInt] = [], disks: [CInt] = [],
    kernel: CInt? = nil, initrd: CInt? = nil, kvm: CInt? = nil, state: CInt? = nil
  ) {
    self.monitors = monitors
    self.guestChannels = guestChannels
    self.taps = taps
    self.disks = disks
    self.kernel = kernel
    self.initrd = initrd
    self.kvm = kvm
    self.state = state
  }
}
