import Glibc
import LinuxSystem

/// What a disk image says of itself.
///
/// Look at an image once, when its owner brings it, and keep the answer: a guest that writes to a raw
/// disk can make it look like any other format afterwards, with a backing file of its choice.
public struct DiskImage: Sendable, Hashable {
  public let format: DiskFormat
  /// The size of the disk that the guest sees, in bytes.
  public let virtualSize: UInt64
  /// The file that holds what this one does not, as the image names it: an absolute path, or one relative
  /// to the image. Only qcow2 has it.
  public let backingFile: BackingFile?

  /// The file behind a qcow2 image.
  public struct BackingFile: Sendable, Hashable {
    public let path: String
    public let format: DiskFormat
  }

  /// Looks at the image at a path. Only its first 64 KiB are read.
  ///
  /// - Throws: ``QEMUError/Code/image`` when it is not a disk image that may be used; the message says what
  ///   to do.
  public static func inspect(path: String) async throws(QEMUError) -> DiskImage {
    try await onThread(naming: path) { () throws(QEMUError) in
      // Non-blocking: not to wait for the other end of a FIFO.
      let number = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      let file = OwnedFileDescriptor(owning: try mustSucceed("opened", number))
      return try read(file.rawValue)
    }
  }

  /// Looks at an image that is open already, whatever its name stands for by now.
  ///
  /// - Parameter descriptor: open for reading; its position does not matter. Borrowed until this returns.
  /// - Throws: as ``inspect(path:)``.
  public static func inspect(descriptor: CInt) async throws(QEMUError) -> DiskImage {
    try await onThread(naming: "descriptor \(descriptor)") { () throws(QEMUError) in
      try read(descriptor)
    }
  }

  private static func onThread(
    naming name: String, _ inspect: @escaping @Sendable () throws(QEMUError) -> DiskImage
  ) async throws(QEMUError) -> DiskImage {
    do {
      return try await onBlockingThread("image", inspect)
    } catch {
      throw QEMUError(.image, "the image \(name) \(error)", cause: error)
    }
  }

  private static func read(_ file: CInt) throws(QEMUError) -> DiskImage {
    var status = stat()
    try mustSucceed("looked at", fstat(file, &status))
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFREG else {
      throw QEMUError(.image, "is not a regular file")
    }
    var header = [UInt8](repeating: 0, count: 1 << 16)
    let count = try mustSucceed("read", pread(file, &header, header.count, 0))
    header.removeSubrange(count...)
    return try parse(header, fileSize: UInt64(status.st_size))
  }

  /// - Parameters:
  ///   - header: the file's first 64 KiB, or all of a shorter one.
  ///   - fileSize: in bytes.
  package static func parse(_ header: [UInt8], fileSize: UInt64) throws(QEMUError) -> DiskImage {
    if let other = foreignMagics.first(where: { header.starts(with: $0.magic) }) {
      throw QEMUError(
        .image, "is of the format \(other.name): convert it with qemu-img convert -O qcow2")
    }
    if header.starts(with: QCOW2Header.magic) {
      return try QCOW2Header(header).image
    }
    guard fileSize >= 512 else {
      throw QEMUError(.image, "is smaller than one sector of a disk")
    }
    return DiskImage(format: .raw, virtualSize: fileSize, backingFile: nil)
  }

  @discardableResult
  private static func mustSucceed<Value: SignedInteger>(
    _ what: String, _ result: Value
  ) throws(QEMUError) -> Value {
    do throws(LinuxError) {
      return try checked("it", result)
    } catch {
      let reason = error.errno.map { "\($0)" } ?? error.message
      throw QEMUError(.image, "cannot be \(what): \(reason)", cause: error)
    }
  }

  /// Of formats that QEMU knows and a machine here must not have: as raw disks their owner would not
  /// recognise them.
  private static let foreignMagics: [(name: String, magic: [UInt8])] = [
    ("vmdk", Array("KDMV".utf8)), ("vmdk", Array("# Disk DescriptorFile".utf8)),
    ("vhdx", Array("vhdxfile".utf8)), ("vhd", Array("conectix".utf8)),
    ("qed", [0x51, 0x45, 0x44, 0x00]), ("qcow", [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 1]),
    ("luks", [0x4C, 0x55, 0x4B, 0x53, 0xBA, 0xBE]),
  ]
}
