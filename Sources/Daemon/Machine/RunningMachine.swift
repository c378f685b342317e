import Glibc
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import QEMU
import Seamless
import Synchronization

/// The kernel objects of a VM whose QEMU runs. Dropping the last reference closes what the daemon holds of
/// them and touches neither the VM nor its network.
final class RunningMachine: Sendable {
  let runtime: RuntimeRecord
  let process: ProcessHandle
  let monitor: QMPClient
  let detour: Detour
  let group: MemoryControlGroup?
  private let heldLines: Mutex<SentryLines?>

  init(
    runtime: RuntimeRecord, process: consuming ProcessHandle, monitor: QMPClient, detour: Detour,
    group: MemoryControlGroup?, lines: SentryLines?
  ) {
    self.runtime = runtime
    self.process = process
    self.monitor = monitor
    self.detour = detour
    self.group = group
    heldLines = Mutex(lines)
  }

  /// Nil while no sentry guards the VM.
  var lines: SentryLines? { heldLines.withLock { $0 } }

  /// Another one has taken its place, with lines to another sentry: the detour tap of these is to be gone, though
  /// what is read ahead and recorded goes on to use the rest.
  func releaseLines() {
    heldLines.withLock { $0 = nil }
  }

  /// The tap's queue, seen through QEMU's own descriptor: true while frames wait for the guest.
  func hasFramesQueued() throws -> Bool {
    let tap = try process.duplicateDescriptor(runtime.tapDescriptor)
    return try hasReadableData(tap.rawValue)
  }
}

/// The daemon's duplicates of what the sentry works with, so that a sentry that dies loses nothing: the
/// cursors stay in memory, and frames go on queueing in the detour tap.
final class SentryLines: Sendable {
  let cursors: OwnedFileDescriptor
  let detourTap: OwnedFileDescriptor

  init(cursors: consuming OwnedFileDescriptor, detourTap: consuming OwnedFileDescriptor) {
    self.cursors = cursors
    self.detourTap = detourTap
  }

  /// Gives the guest what the detour tap still holds, past the detour; returns the number of frames.
  ///
  /// Only for when there is no sentry: two readers of one queue would each get half.
  func drainIntoGuest(past machineTap: CInt) throws -> Int {
    let injector = try PacketSocket.open(onInterface: machineTap, mode: .injecting)
    var count = 0
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while count < 4096 {
      let length = buffer.withUnsafeMutableBytes {
        read(detourTap.rawValue, $0.baseAddress, $0.count)
      }
      guard length > 0 else { break }
      buffer.withUnsafeBytes { frames in
        // A frame that the tap does not take is as lost as on any full queue; the peer sends it again.
        try? injector.send(UnsafeRawBufferPointer(rebasing: frames[0..<length]))
      }
      count += 1
    }
    return count
  }
}

/// Set by whoever learns that a VM must not go on falling asleep.
final class Interruption: Sendable {
  private let flag = Atomic<Bool>(false)
  func raise() { flag.store(true, ordering: .releasing) }
  var isRaised: Bool { flag.load(ordering: .acquiring) }
}
