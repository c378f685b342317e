import Glibc
import LinuxMemory
import LinuxSystem
import Testing

@Suite("Memory and swap status")
struct MemoryStatusTests {
  @Test func theHostsMemoryAddsUp() throws {
    let memory = try MemoryInformation.current()
    #expect(memory.totalBytes > 64 << 20)
    #expect(memory.freeBytes <= memory.totalBytes)
    #expect(memory.availableBytes <= memory.totalBytes)
    #expect(memory.swapFreeBytes <= memory.swapTotalBytes)
  }

  @Test func fieldsAreReadInBytesWhateverElseThereIs() {
    let text = """
      MemTotal:       1000 kB
      MemFree:         200 kB
      MemAvailable:    300 kB
      SwapCached:       7 kB
      Shmem:           11 kB
      Zswap:           13 kB
      Zswapped:        17 kB
      SwapTotal:       19 kB
      SwapFree:        18 kB
      HugePages_Total:   4
      Bogus:  many kB
      :
      """
    let memory = MemoryInformation(parsing: text)
    #expect(memory?.totalBytes == 1_000 << 10)
    #expect(memory?.freeBytes == 200 << 10)
    #expect(memory?.availableBytes == 300 << 10)
    #expect(memory?.swapCachedBytes == 7 << 10)
    #expect(memory?.sharedMemoryBytes == 11 << 10)
    #expect(memory?.zswapPoolBytes == 13 << 10)
    #expect(memory?.zswappedBytes == 17 << 10)
    #expect(memory?.swapTotalBytes == 19 << 10)
    #expect(memory?.swapFreeBytes == 18 << 10)
    #expect(MemoryInformation(parsing: "MemFree: 1 kB") == nil)
  }

  @Test func swapAreasAreRead() throws {
    let text = """
      Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
      /var/swap\\040file                       file\t\t1048572\t\t4\t\t-2
      /dev/dm-1                               partition\t2097148\t\t0\t\t-3
      /dev/zram0                              partition\t524284\t\t100\t\t32767

      """
    var asked: [String] = []
    let areas = try SwapArea.parse(text) { path in
      asked.append(path)
      return path == "/dev/dm-1" ? true : nil
    }
    try #require(areas.count == 3)
    #expect(areas.map(\.path) == ["/var/swap file", "/dev/dm-1", "/dev/zram0"])
    #expect(areas.map(\.kind) == [.file, .partition, .zram])
    #expect(areas.map(\.isEncrypted) == [nil, true, true])
    #expect(areas.map(\.priority) == [-2, -3, 32_767])
    #expect(areas[0].sizeBytes == 1_048_572 << 10)
    #expect(areas[2].usedBytes == 100 << 10)
    #expect(asked == ["/var/swap file", "/dev/dm-1"])
    #expect(try SwapArea.parse("Filename Type\n") { _ in nil } == [])
    #expect(throws: LinuxError.self) { try SwapArea.parse("h\n/x file y 0 0\n") { _ in nil } }
    #expect(throws: LinuxError.self) { try SwapArea.parse("h\n/x file\n") { _ in nil } }
  }

  @Test func encryptionIsFoundThroughTheLayersOfASysfs() throws {
    let root = try TemporaryDirectory()
    let target = "\(root.path)/file"
    close(open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600))
    var status = stat()
    #expect(stat(target, &status) == 0)
    let device = UInt64(status.st_dev)
    let major = (device >> 8) & 0xfff
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00)
    let block = "\(root.path)/dev/block/\(major):\(minor)"
    let encryption = BlockDeviceEncryption(system: root.path)
    func put(_ text: String, at path: String) throws {
      var folder = ""
      for part in path.split(separator: "/").dropLast() {
        folder += "/\(part)"
        mkdir(folder, 0o755)
      }
      close(try checked("open", open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0o600)))
      try KernelFile.write(text, to: path)
    }

    #expect(encryption.isEncrypted(path: target) == nil, "a device that sysfs does not know")
    #expect(encryption.isEncrypted(path: "\(root.path)/none") == nil)
    try put("8:1\n", at: "\(block)/dev")
    #expect(encryption.isEncrypted(path: target) == false, "a plain disk")
    try put("CRYPT-LUKS2-1234-name\n", at: "\(block)/slaves/dm-3/dm/uuid")
    try put("LVM-abc\n", at: "\(block)/dm/uuid")
    #expect(encryption.isEncrypted(path: target) == true, "LVM on one encrypted device")
    try put("8:2\n", at: "\(block)/slaves/sdb/dev")
    #expect(encryption.isEncrypted(path: target) == false, "LVM that is partly in the clear")
    try put("CRYPT-PLAIN-name\n", at: "\(block)/dm/uuid")
    #expect(encryption.isEncrypted(path: target) == true, "dm-crypt itself")
  }
}
