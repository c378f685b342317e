import CLinux
public import LinuxSystem
import SystemPackage

/// Whether a read of the descriptor would return something now (poll(2)). Does not wait, and takes
/// nothing.
///
/// On a tap: whether a frame waits that its reader has not fetched, through whichever descriptor of
/// the same open file one asks.
///
/// Fails with `EBADFD` on a tap whose interface was deleted.
public func hasReadableData(_ descriptor: CInt) throws(LinuxError) -> Bool {
  while true {
    let result = dormouse_readable_now(descriptor)
    if result >= 0 { return result == 1 }
    let failure = Errno(rawValue: dormouse_errno())
    if failure != .interrupted { throw LinuxError("polling descriptor \(descriptor)", failure) }
  }
}
