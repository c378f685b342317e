import LinuxMemory
import SuspendToSwap
import Testing

@Suite("Room in swap")
struct SwapAccountingTests {
  private static let mebibyte: UInt64 = 1 << 20

  private func swap(total: UInt64, used: UInt64) throws -> SwapStatus {
    let header = "Filename\tType\tSize\tUsed\tPriority\n"
    let line = total == 0 ? "" : "/swap file \(total >> 10) \(used >> 10) 0\n"
    return SwapStatus(
      areas: try SwapArea.parse(header + line) { _ in nil }, zswapEnabled: false,
      zswapPoolBytes: 0, zramPoolBytes: 0)
  }

  private func code(_ body: () throws -> Void) -> SuspendError.Code? {
    do {
      try body()
      return nil
    } catch {
      return (error as? SuspendError)?.code
    }
  }

  @Test func swapIsPromisedOnceAndKeepsAReserve() throws {
    let mebibyte = Self.mebibyte
    let room = try swap(total: 200 * mebibyte, used: 50 * mebibyte)
    let none = try swap(total: 0, used: 0)
    let free = 150 * mebibyte - SwapRoom.reserveBytes
    #expect(code { try SwapRoom.check(needed: free, swap: room) } == nil)
    #expect(code { try SwapRoom.check(needed: free + 1, swap: room) } == .swapShort)
    #expect(
      code { try SwapRoom.check(needed: free, swap: room, reserved: mebibyte) } == .swapShort)
    #expect(
      code { try SwapRoom.check(needed: 1, swap: room, reserved: .max / 2) } == .swapShort)
    #expect(code { try SwapRoom.check(needed: 1, swap: none) } == .noSwap)
  }

  @Test func onlyASwapWithoutRoomIsCalledFull() throws {
    let mebibyte = Self.mebibyte
    let full = try swap(total: 100 * mebibyte, used: 99 * mebibyte)
    let roomy = try swap(total: 100 * mebibyte, used: 10 * mebibyte)
    func code(_ swap: SwapStatus, resident: UInt64) -> SuspendError.Code? {
      self.code {
        try PageOut.refuseFullSwap(swap, resident: resident, touched: 300 * mebibyte)
      }
    }
    #expect(code(full, resident: 200 * mebibyte) == .swapFull)
    #expect(code(roomy, resident: 200 * mebibyte) == nil)
    #expect(code(full, resident: mebibyte / 2) == nil, "what little is left counts as done")
  }

  @Test func ownMemoryThatIsLeftIsOnlyBlamedOnAFullSwap() throws {
    let mebibyte = Self.mebibyte
    let full = try swap(total: 100 * mebibyte, used: 100 * mebibyte)
    let roomy = try swap(total: 100 * mebibyte, used: 10 * mebibyte)
    func code(_ swap: SwapStatus, resident: UInt64) -> SuspendError.Code? {
      self.code {
        try PageOut.refuseFullSwap(swap, resident: resident, before: 80 * mebibyte)
      }
    }
    #expect(code(full, resident: 60 * mebibyte) == .swapFull)
    #expect(code(full, resident: 10 * mebibyte) == nil, "most of it went")
    #expect(code(roomy, resident: 60 * mebibyte) == nil)
  }

  @Test(arguments: [
    "/dev/vfio/12", "anon_inode:[vfio-device]", "/dev/sev", "anon_inode:[kvm-gmem]",
  ])
  func devicesThatPinOrHideMemoryKeepAVirtualMachineAwake(target: String) {
    #expect(
      code { try GuestMemory.refuseUnpageableDevices(["/dev/kvm", target]) } == .unpageable)
  }

  @Test func ordinaryDevicesDoNot() {
    #expect(
      code {
        try GuestMemory.refuseUnpageableDevices([
          "/dev/kvm", "/dev/net/tun", "anon_inode:kvm-vcpu:0", "socket:[1]",
          "/memfd:memory-backend-memfd (deleted)",
        ])
      } == nil)
  }
}
