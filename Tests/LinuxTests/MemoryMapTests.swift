import Glibc
import LinuxMemory
import LinuxSystem
import Testing

@Suite("Memory maps")
struct MemoryMapTests {
  @Test func linesAreReadAsProcWritesThem() throws {
    let text = """
      55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]
      7f3c80000000-7f3ca0000000 rw-s 00001000 00:01 4097                       /memfd:memory-backend-memfd (deleted)
      7f3cb0000000-7f3cb0001000 ---p 00000000 00:00 0\u{20}
      7f3cb0001000-7f3cb0002000 r-xp 0002f000 fe:00 786433                     /a b\\012c  d
      ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]

      """
    let maps = try MemoryMap.parse(Array(text.utf8))
    try #require(maps.count == 5)
    #expect(maps[0].path == "[heap]")
    #expect(maps[0].size == 0x21000)
    #expect(maps[0].readable && maps[0].writable && !maps[0].executable && !maps[0].shared)
    #expect(maps[1].shared)
    #expect(maps[1].offset == 0x1000)
    #expect(maps[1].inode == 4097)
    #expect(maps[1].path == "/memfd:memory-backend-memfd (deleted)")
    #expect(maps[2].path == "")
    #expect(!maps[2].readable)
    #expect(maps[3].executable)
    #expect(maps[3].device == "fe:00")
    #expect(maps[3].path == "/a b\\012c  d")
    #expect(maps[4].end == 0xffff_ffff_ff60_1000)
  }

  @Test(arguments: [
    "x", "-", "1000-2000", "1000-2000 rw-p 0 00:00", "2000-1000 rw-p 0 00:00 0",
    "1000-1000 rw-p 0 0:0 0",
    "1000-2000-3000 rw-p 0 00:00 0", "1000-2000 rw-px 0 00:00 0", "1000-2000 rw-p g 00:00 0",
    "1000-2000 rw-p 0 0000 0", "1000-2000 rw-p 0 00:00 -1", "1000-2000 rw-p 0 00:00 ",
    "11111111111111111-21111111111111111 rw-p 0 00:00 0",
    "1000-2000 rw-p 0 00:00 99999999999999999999999",
    "1000-2000 rw-p 0 :: 0", " 1000-2000 rw-p 0 00:00 0", "\0\0\0",
  ])
  func whatIsNotALineIsRefused(line: String) {
    let good = "1000-2000 rw-p 0 00:00 0"
    let error = #expect(throws: LinuxError.self) {
      try MemoryMap.parse(Array("\(good)\n\(line)\n\(good)\n".utf8))
    }
    #expect(error?.code == .malformed)
  }

  @Test func invalidTextInAPathIsKeptReadable() throws {
    let line = Array("1000-2000 rw-p 0 00:00 5 /a".utf8) + [0xff, 0x80] + Array("b".utf8)
    let maps = try MemoryMap.parse(line)
    #expect(maps.first?.path.hasPrefix("/a") == true)
    #expect(maps.first?.path.hasSuffix("b") == true)
  }

  @Test func listsAndLinesAreBounded() throws {
    let line = "1000-2000 rw-p 0 00:00 0\n"
    let full = Array(String(repeating: line, count: MemoryMap.maximumMappings).utf8)
    #expect(try MemoryMap.parse(full).count == MemoryMap.maximumMappings)
    #expect(throws: LinuxError.self) { try MemoryMap.parse(full + Array(line.utf8)) }

    let longest = "1000-2000 rw-p 0 00:00 5 /" + String(repeating: "\\012", count: 4_095)
    #expect(try MemoryMap.parse(Array(longest.utf8)).count == 1)
    let tooLong = longest + String(repeating: "x", count: 10_000)
    #expect(throws: LinuxError.self) { try MemoryMap.parse(Array(tooLong.utf8)) }
  }

  @Test func aMappingOfOurOwnIsFound() throws {
    let file = try AnonymousFile.create(named: "map test", size: 1 << 20)
    let mapping = try SharedMapping(of: file.rawValue, size: 1 << 20)
    var status = stat()
    #expect(fstat(file.rawValue, &status) == 0)
    let found = try MemoryMap.read(pid: getpid()).filter { $0.inode == status.st_ino }
    try #require(found.count == 1)
    #expect(found[0].start == mapping.addresses.lowerBound)
    #expect(found[0].end == mapping.addresses.upperBound)
    #expect(found[0].path == "/memfd:map test (deleted)")
    #expect(found[0].shared && found[0].writable)
    withExtendedLifetime(mapping) {}
  }

  @Test func aProcessThatIsNotThereIsGone() {
    let error = #expect(throws: LinuxError.self) { try MemoryMap.read(pid: Int32.max) }
    #expect(error?.code == .gone)
  }
}
