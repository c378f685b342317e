import Glibc
import QEMU
import Testing

@Suite struct DiskImageTests {
  private func inspect(_ bytes: [UInt8]) async throws -> DiskImage {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/image"
    try write(bytes, to: path)
    return try await DiskImage.inspect(path: path)
  }

  private func complaint(_ bytes: [UInt8]) async -> String? {
    do {
      _ = try await inspect(bytes)
      return nil
    } catch {
      guard (error as? QEMUError)?.code == .image else { return nil }
      return "\(error)"
    }
  }

  @Test func takesAnythingElseForRaw() async throws {
    let image = try await inspect([UInt8](repeating: 7, count: 4096))
    #expect(image.format == .raw)
    #expect(image.virtualSize == 4096)
    #expect(image.backingFile == nil)
  }

  @Test func readsAnOpenFile() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/image"
    try write(QCOW2().bytes, to: path)
    let file = open(path, O_RDONLY)
    defer { close(file) }
    unlink(path)
    #expect(try await DiskImage.inspect(descriptor: file).format == .qcow2)
  }

  @Test(arguments: [2, 3])
  func readsQCOW2(version: UInt32) async throws {
    var header = QCOW2()
    header.version = version
    let image = try await inspect(header.bytes)
    #expect(image.format == .qcow2)
    #expect(image.virtualSize == 1 << 30)
    #expect(image.backingFile == nil)
    header.backing = ("/base/debian.qcow2", "qcow2")
    let backing = try await inspect(header.bytes).backingFile
    #expect(backing?.path == "/base/debian.qcow2")
    #expect(backing?.format == .qcow2)
  }

  static let damages: [@Sendable (inout QCOW2) -> Void] = [
    { $0.version = 4 }, { $0.version = 0 }, { $0.clusterBits = 8 }, { $0.clusterBits = 22 },
    { $0.clusterBits = .max }, { $0.size = 0 }, { $0.size = .max }, { $0.encryption = 1 },
    { $0.features = 2 }, { $0.features = 4 }, { $0.features = 1 << 63 }, { $0.headerLength = 0 },
    { $0.headerLength = 100 }, { $0.headerLength = .max }, { $0.backing = ("", "raw") },
    { $0.backing = ("/base", "vmdk") }, { $0.backing = ("/base", nil) },
    { $0.backing = ("nbd://host/disk", "raw") }, { $0.backing = ("json:{}", "raw") },
    { $0.backing = ("/ba\nse", "raw") },
    {
      $0.backing = ("/base", "raw"); $0.nameOffset = 8
    },
    {
      $0.backing = ("/base", "raw"); $0.nameOffset = .max
    },
    {
      $0.backing = ("/base", "raw"); $0.nameOffset = 65_535
    },
    {
      $0.backing = ("/base", "raw"); $0.nameLength = .max
    },
    {
      $0.backing = ("/base", "raw"); $0.extensionLength = .max
    },
  ]

  @Test(arguments: damages.indices)
  func refusesHostileHeaders(index: Int) async {
    var header = QCOW2()
    DiskImageTests.damages[index](&header)
    #expect(await complaint(header.bytes) != nil)
  }

  @Test func refusesHeadersThatAreCutOff() async {
    var header = QCOW2()
    header.backing = ("/base", "raw")
    for length in stride(from: 4, to: header.nameEnd, by: 3) {
      #expect(await complaint(Array(header.bytes[..<length])) != nil)
    }
  }

  @Test func refusesDataInAnotherFile() async {
    var header = QCOW2()
    header.features = 4
    #expect(await complaint(header.bytes)?.contains("another file") == true)
  }

  @Test(arguments: [
    "KDMV", "vhdxfile", "conectix", "QED\0", "QFI\u{fb}\0\0\0\u{1}", "# Disk DescriptorFile",
  ])
  func refusesOtherFormats(magic: String) async {
    let bytes = magic.unicodeScalars.map { UInt8($0.value) } + [UInt8](repeating: 0, count: 4096)
    #expect(await complaint(bytes)?.contains("qemu-img convert") == true)
  }

  @Test func refusesWhatIsNoFile() async throws {
    let directory = try TemporaryDirectory()
    #expect(mkfifo(directory.path + "/fifo", 0o600) == 0)
    for path in [directory.path, directory.path + "/fifo", directory.path + "/none", "/dev/zero"] {
      await #expect(throws: QEMUError.self) { try await DiskImage.inspect(path: path) }
    }
    #expect(await complaint([]) != nil)
  }
}

/// The first cluster of a qcow2 image, field by field.
struct QCOW2 {
  var version: UInt32 = 3
  var clusterBits: UInt32 = 16
  var size: UInt64 = 1 << 30
  var encryption: UInt32 = 0
  var features: UInt64 = 0
  var headerLength: UInt32 = 104
  var backing: (name: String, format: String?)?
  var nameOffset: UInt64?
  var nameLength: UInt32?
  var extensionLength: UInt32?

  var nameEnd: Int { 0x200 + (backing?.name.utf8.count ?? 0) }

  var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    func put(_ value: some FixedWidthInteger, at offset: Int) {
      withUnsafeBytes(of: value.bigEndian) {
        bytes.replaceSubrange(offset..<offset + $0.count, with: $0)
      }
    }
    put(0x5146_49FB as UInt32, at: 0)
    put(version, at: 4)
    put(clusterBits, at: 20)
    put(size, at: 24)
    put(encryption, at: 32)
    var extensions = 72
    if version == 3 {
      put(features, at: 72)
      put(4 as UInt32, at: 96)
      put(headerLength, at: 100)
      extensions = 104
    }
    if let backing {
      put(nameOffset ?? 0x200, at: 8)
      put(nameLength ?? UInt32(backing.name.utf8.count), at: 16)
      bytes.replaceSubrange(0x200..<nameEnd, with: backing.name.utf8)
      if let format = backing.format {
        put(0xE279_2ACA as UInt32, at: extensions)
        put(extensionLength ?? UInt32(format.utf8.count), at: extensions + 4)
        bytes.replaceSubrange(
          extensions + 8..<extensions + 8 + format.utf8.count, with: format.utf8)
      }
    }
    return bytes
  }
}

func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o600) throws {
  let file = open(path, O_WRONLY | O_CREAT | O_EXCL, mode)
  guard file >= 0, fchmod(file, mode) == 0 else { throw TestFailure("cannot create \(path)") }
  defer { close(file) }
  guard Glibc.write(file, bytes, bytes.count) == bytes.count else {
    throw TestFailure("cannot write \(path)")
  }
}
