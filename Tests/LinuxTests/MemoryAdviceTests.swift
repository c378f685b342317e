import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem
import Testing

@Suite("Page advice")
struct MemoryAdviceTests {
  private func ownHandle() throws -> ProcessHandle {
    try ProcessHandle(opening: try ProcessIdentity.of(pid: getpid()))
  }

  @Test func moreRangesThanOneCallTakes() throws {
    let own = try ownHandle()
    let pages = 5_000
    let mapping = try SharedMapping(of: nil, size: pages * pageSize)
    let start = mapping.addresses.lowerBound
    // Every other page, each with odd edges that are widened.
    let ranges = stride(from: 0, to: pages, by: 2).map { page in
      (start + UInt(page * pageSize) + 1)..<(start + UInt((page + 1) * pageSize) - 1)
    }
    var portions = 0
    let advised = try advise(own.descriptor, ranges: ranges, .cold) {
      portions += 1
      return true
    }
    #expect(advised == UInt64(ranges.count * pageSize))
    #expect(portions == 3)
    withExtendedLifetime(mapping) {}
  }

  @Test func largeRangesAreCutIntoPortionsAndCanBeLeftOff() throws {
    let own = try ownHandle()
    let mapping = try SharedMapping(of: nil, size: 200 << 20)
    var portions = 0
    let whole = try advise(own.descriptor, ranges: [mapping.addresses], .cold) {
      portions += 1
      return true
    }
    #expect(whole == 200 << 20)
    #expect(portions == 4)
    let part = try advise(own.descriptor, ranges: [mapping.addresses], .cold) {
      portions += 1
      return portions <= 6
    }
    #expect(part == 128 << 20)
    let nothing = try advise(own.descriptor, ranges: [mapping.addresses], .cold) { false }
    #expect(nothing == 0)
    let empty = try advise(own.descriptor, ranges: [], .cold) { true }
    #expect(empty == 0)
    withExtendedLifetime(mapping) {}
  }

  @Test func rangesThatAreNotMappedAreAnError() throws {
    let own = try ownHandle()
    let mapping = try SharedMapping(of: nil, size: pageSize)
    let hole = (UInt.max / 2)..<(UInt.max / 2 + UInt(pageSize))
    do {
      try advise(own.descriptor, ranges: [mapping.addresses, hole], .cold) { true }
      Issue.record("memory that does not exist was advised")
    } catch {
      #expect(error.errno != nil)
    }
  }

  @Test func aProcessThatHasEndedIsGone() async throws {
    let child = try Child(shell: "exit 0")
    #expect(try await child.end() == .exited(0))
    do {
      try advise(child.handle.descriptor, ranges: [4_096..<8_192], .cold) { true }
      Issue.record("a dead process took advice")
    } catch {
      #expect(error.code == .gone)
    }
  }
}
