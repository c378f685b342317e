import LinuxMemory
import LinuxProcess
import LinuxSystem
import QEMU

extension FuzzTarget {
  /// The first 64 KiB of a disk image. Input: the bytes.
  static let image = FuzzTarget("image", maximumLength: 2048) { input in
    guard let image = try? DiskImage.parse([UInt8](input), fileSize: UInt64(input.count)) else {
      return
    }
    try demand(image.virtualSize >= 512, "a disk of less than one sector")
    guard let backing = image.backingFile else { return }
    try demand(
      image.format == .qcow2 && (1...1023).contains(backing.path.utf8.count), "a backing file")
    try demand(
      backing.path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        && !backing.path.prefix(while: { $0 != "/" }).contains(":"),
      "a backing file that is not a plain file")
  }

  /// Texts of the kernel, parts of which others choose: paths of mapped files, names of processes.
  /// Input: which, then the text.
  static let kernel = FuzzTarget("kernel", maximumLength: 4096) { input in
    var reader = InputReader(input)
    let choice = reader.byte()
    let bytes = reader.remainder()
    switch choice % 5 {
    case 0:
      let mappings = (try? MemoryMap.parse(bytes)) ?? []
      try demand(mappings.allSatisfy { $0.start < $0.end }, "a mapping without bytes")
    case 1:
      _ = try? SwapArea.parse(String(decoding: bytes, as: UTF8.self)) { _ in nil }
    case 2:
      _ = MemoryInformation(parsing: String(decoding: bytes, as: UTF8.self))
    case 3:
      _ = ProcessStatus(parsing: bytes)
    default:
      let decoded = EscapedPath.decode(String(decoding: bytes, as: UTF8.self))
      try demand(decoded.utf8.count <= 3 * bytes.count, "a path that grows")
    }
  }
}
