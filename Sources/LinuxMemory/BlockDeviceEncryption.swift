import CLinux
import Glibc
import LinuxSystem

/// Whether block devices are encrypted, as far as sysfs tells.
///
/// `dm/uuid` of a dm-crypt device begins with `CRYPT-`; other stacked devices (LVM, RAID) are encrypted
/// when all that they are made of are.
package struct BlockDeviceEncryption {
  /// Where sysfs is mounted.
  private let system: String

  package init(system: String) {
    self.system = system
  }

  /// nil when the file or device is gone, or its file system has no single block device.
  package func isEncrypted(path: String, depth: Int = 0) -> Bool? {
    var device: (major: UInt32, minor: UInt32) = (0, 0)
    var onDevice: (major: UInt32, minor: UInt32) = (0, 0)
    guard
      dormouse_file_devices(
        path, &onDevice.major, &onDevice.minor, &device.major, &device.minor) == 0
    else { return nil }
    let subject = device.major != 0 ? device : onDevice
    return isEncrypted(
      directory: "\(system)/dev/block/\(subject.major):\(subject.minor)", depth: depth)
  }

  /// Stacks deeper than this are not followed.
  private static let maximumDepth = 8

  private func isEncrypted(directory: String, depth: Int) -> Bool? {
    guard depth < Self.maximumDepth, access(directory, F_OK) == 0 else { return nil }
    if let uuid = try? KernelFile.text("\(directory)/dm/uuid", limit: 4_096),
      uuid.hasPrefix("CRYPT-")
    {
      return true
    }
    if let file = try? KernelFile.text("\(directory)/loop/backing_file", limit: 8_192) {
      return isEncrypted(path: String(file.prefix { $0 != "\n" }), depth: depth + 1)
    }
    // A partition is what its disk is.
    if access("\(directory)/partition", F_OK) == 0 {
      return isEncrypted(directory: "\(directory)/..", depth: depth + 1)
    }
    let below = ((try? KernelFile.names(in: "\(directory)/slaves")) ?? []).map { slave in
      isEncrypted(directory: "\(directory)/slaves/\(slave)", depth: depth + 1)
    }
    if below.isEmpty { return false }
    if below.contains(false) { return false }
    return below.contains(nil) ? nil : true
  }
}
