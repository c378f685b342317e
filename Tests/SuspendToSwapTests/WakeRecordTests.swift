import LinuxProcess
import SuspendToSwap
import Testing

@Suite("Records of what wakes use")
struct WakeRecordTests {
  private static let page: UInt = 4096
  private let process = ProcessIdentity(pid: 4711, startTime: 99)

  private func pages(_ range: Range<UInt>) -> Range<UInt> {
    range.lowerBound * Self.page..<range.upperBound * Self.page
  }

  private func record(_ use: [[Range<UInt>]]) -> WakeRecord {
    WakeRecord.empty.refreshed(by: use.map { $0.map(pages) }, stayed: [], isComplete: true)
  }

  @Test func rangesAreSubtractedAndIntersected() {
    let set: [Range<UInt>] = [10..<20, 30..<40]
    #expect(AddressRanges.subtract(set, from: 5..<35) == [5..<10, 20..<30])
    #expect(AddressRanges.subtract(set, from: 12..<18).isEmpty)
    #expect(AddressRanges.subtract([], from: 1..<2) == [1..<2])
    #expect(AddressRanges.intersect(set, with: 15..<31) == [15..<20, 30..<31])
    #expect(AddressRanges.intersect(set, with: 20..<30).isEmpty)
    #expect(AddressRanges.merged([30..<40, 10..<20, 15..<30]) == [10..<40])
    #expect(AddressRanges.merged([10..<20, 24..<30], gap: 4) == [10..<30])
    #expect(AddressRanges.prefix(of: [50..<60, 10..<20], bytes: 15) == [50..<60, 10..<15])
  }

  @Test func itIsInTheOrderOfUse() {
    let set = record([[900..<901], [100..<200], [10..<20, 22..<23]])
    #expect(set.order == [pages(900..<901), pages(100..<200), pages(10..<23)])
    #expect(set.parts.map(\.period) == [0, 1, 2])
    #expect(set.bytes == UInt64((1 + 100 + 13) * Self.page))
  }

  @Test func nothingIsInItTwice() {
    // The gap that is closed in the first period is used in the second.
    let set = record([[10..<12, 14..<16], [12..<14, 13..<18]])
    #expect(set.order == [pages(10..<16), pages(16..<18)])
  }

  @Test func whatIsNoLongerUsedIsForgottenAfterSomeWakes() {
    var set = record([[10..<20], [100..<110]])
    for misses in 1...WakeRecord.maximumMisses {
      set = set.refreshed(by: [[pages(10..<20)]], stayed: [], isComplete: true)
      #expect(set.parts.last?.misses == misses)
      #expect(set.parts.count == 2)
    }
    set = set.refreshed(by: [[pages(10..<20)]], stayed: [], isComplete: true)
    #expect(set.order == [pages(10..<20)])
  }

  @Test func whatCannotBeToldIsNotHeldAgainstIt() {
    let set = record([[10..<20], [100..<110]])
    #expect(set.refreshed(by: [], stayed: [], isComplete: false) == set)
    let stayed = set.refreshed(by: [], stayed: [pages(10..<20)], isComplete: true)
    #expect(stayed.parts.map(\.misses) == [0, 1])
  }

  @Test func itIsBounded() {
    let count = UInt(WakeRecord.maximumParts)
    let many = (0..<2 * count).map { $0 * 100..<$0 * 100 + 1 }
    let set = record([many])
    #expect(set.parts.count == WakeRecord.maximumParts)
    #expect(set.encoded(for: process).count == WakeRecord.maximumBytes)
  }

  @Test func itSurvivesTheFile() throws {
    let set = record([[900..<901], [100..<200], [10..<20, 40..<41]])
    #expect(try WakeRecord(decoding: set.encoded(for: process), of: process) == set)
    #expect(try WakeRecord.read("/nonexistent/record", of: process) == .empty)
    #expect(try WakeRecord(decoding: WakeRecord.empty.encoded(for: process), of: process) == .empty)
  }

  @Test func aDamagedOrAlienFileIsRefused() {
    let good = record([[900..<901], [100..<200]]).encoded(for: process)
    func refused(_ bytes: [UInt8], of process: ProcessIdentity? = nil) -> Bool {
      do {
        _ = try WakeRecord(decoding: bytes, of: process ?? self.process)
        return false
      } catch {
        return error.code == .badRecord
      }
    }
    for length in 0..<good.count { #expect(refused(Array(good[..<length]))) }
    for index in good.indices {
      var bytes = good
      bytes[index] ^= 0x40
      #expect(refused(bytes), "byte \(index)")
    }
    #expect(refused(good + [0]))
    #expect(refused(Array(repeating: 0xff, count: WakeRecord.maximumBytes + 16)))
    #expect(refused(good, of: ProcessIdentity(pid: 4712, startTime: 99)))
    #expect(refused(good, of: ProcessIdentity(pid: 4711, startTime: 98)))
    // Whole and yet senseless: a part twice.
    let part = WakeRecord.Part(addresses: pages(5..<6), period: 0, misses: 0)
    #expect(refused(WakeRecord(parts: [part, part]).encoded(for: process)))
    let late = WakeRecord.Part(addresses: pages(5..<6), period: 200, misses: 0)
    #expect(refused(WakeRecord(parts: [late]).encoded(for: process)))
    // More misses than are kept, which one more wake would count further.
    let missed = WakeRecord.Part(addresses: pages(5..<6), period: 0, misses: .max)
    #expect(refused(WakeRecord(parts: [missed]).encoded(for: process)))
  }
}
