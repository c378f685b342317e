import Frames
import Glibc
import LinuxSystem
import Seamless
import Testing

@Suite("The table of cursors")
struct SentryTableTests {
  private static let guest = SentryScene.guestMAC
  private static let remote = IPAddress.v4(IPv4Address(10, 0, 0, 2))

  private func withMemory(
    capacity: Int = 64, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
  ) rethrows {
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: CursorTable.byteCount(capacity: capacity), alignment: 64)
    defer { memory.deallocate() }
    try body(memory)
  }

  private func cursor(_ port: UInt16, seen: UInt32 = 1) -> Cursor {
    var cursor = Cursor(
      key: FlowKey(localIndex: 0, localPort: 22, remote: Self.remote, remotePort: port))
    cursor.flags = [.guestKnown, .timestamps]
    cursor.guestSequence = UInt32(port)
    cursor.guestAcknowledgement = 0x8000_0000
    cursor.guestTimestamp = 3
    cursor.guestWindow = 4
    cursor.peerAcknowledgement = 5
    cursor.peerEnd = 6
    cursor.peerTimestamp = 7
    cursor.station = 8
    cursor.lastSeen = seen
    cursor.finishCopies = 1
    cursor.heldResets = 2
    cursor.trafficClass = 0x48
    cursor.flowLabel = 0xf_abcd
    return cursor
  }

  /// Makes 10.0.0.7 the guest's first address.
  private func learnAddress(_ table: CursorTable) {
    var learner = Learner(table: table, at: 0)
    let address = IPAddress.v4(IPv4Address(10, 0, 0, 7))
    let frame = ethernet(
      to: .broadcast, from: Self.guest, type: 0x0806,
      arp(1, Self.guest, address, .zero, Self.remote))
    _ = frame.withUnsafeBytes { learner.observe($0, direction: .fromGuest, at: 0) }
  }

  private func code(_ body: () throws -> Void) -> SeamlessError.Code? {
    do {
      try body()
      return nil
    } catch {
      return (error as? SeamlessError)?.code
    }
  }

  @Test("The usual size is 64 KiB, a page, and ten bitmaps of all ports")
  func size() {
    #expect(CursorTable.byteCount() == 65536 + 4096 + 10 * 8192)
  }

  @Test(
    "Memory is taken only where something is known: ports of a guest that refuses take one page")
  func sparsePorts() throws {
    let memory = try CursorTable.makeMemory(for: Self.guest)
    let size = CursorTable.byteCount()
    let address = try #require(
      mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.rawValue, 0))
    defer { munmap(address, size) }
    let table = try CursorTable(
      attaching: UnsafeMutableRawBufferPointer(start: address, count: size))
    func pages() throws -> Int {
      var status = stat()
      try #require(fstat(memory.rawValue, &status) == 0)
      return Int(status.st_blocks) * 512 / 4096
    }
    learnAddress(table)
    #expect(try pages() == 1)
    for port in 1...4 as ClosedRange<UInt16> { table.update(cursor(port)) }
    #expect(try pages() == 2)
    for (offset, kind) in [PortProtocol.tcp, .udp].enumerated() {
      table.addRefusal(
        of: Self.remote, to: SentryScene.peerMAC, at: 23 + UInt16(offset), kind, localIndex: 0,
        now: 0)
    }
    table.setUsedPorts(UsedPorts(trust: .exact, tcp: [22, 80], udp: [68]))
    table.generation += 1
    #expect(try pages() == 3)
    for port in 0...UInt16.max {
      #expect(
        table.hasRefused(Self.remote, from: SentryScene.peerMAC, at: port, .tcp, localIndex: 0)
          == (port == 23))
      #expect(
        table.hasRefused(Self.remote, from: SentryScene.peerMAC, at: port, .udp, localIndex: 0)
          == (port == 24))
      #expect((table.unusedPortTrust(port, .tcp) == nil) == (port == 22 || port == 80))
      #expect((table.unusedPortTrust(port, .udp) == nil) == (port == 68))
    }
    // Asking takes no memory either.
    #expect(try pages() == 3)
    table.removeRefusal(of: Self.remote, at: 23, .tcp, localIndex: 0)
    #expect(!table.hasRefused(Self.remote, from: SentryScene.peerMAC, at: 23, .tcp, localIndex: 0))
  }

  @Test("Each port has a bit of its own in each bitmap")
  func ports() throws {
    try withMemory { memory in
      _ = memory.initializeMemory(as: UInt8.self, repeating: 0xff)
      let table = try CursorTable(formatting: memory, guest: Self.guest)
      let tcp = (0..<4096).map { UInt16($0 * 16) }
      let udp = (0..<4096).map { UInt16($0 * 16 + 7) }
      for port in stride(from: UInt16(3), to: 65_000, by: 1_001) {
        table.addRefusal(
          of: Self.remote, to: SentryScene.peerMAC, at: port, .tcp, localIndex: 0, now: 0)
      }
      table.setUsedPorts(UsedPorts(trust: .list, tcp: tcp, udp: udp))
      table.generation += 1
      let next = try CursorTable(attaching: memory)
      for port in 0...UInt16.max {
        #expect((next.unusedPortTrust(port, .tcp) == nil) == (port % 16 == 0))
        #expect((next.unusedPortTrust(port, .udp) == nil) == (port % 16 == 7))
        #expect(
          next.hasRefused(Self.remote, from: SentryScene.peerMAC, at: port, .tcp, localIndex: 0)
            == (port < 65_000 && port % 1_001 == 3))
      }
    }
  }

  @Test("What one process writes, the next one reads")
  func attach() throws {
    try withMemory { memory in
      let table = try CursorTable(formatting: memory, guest: Self.guest)
      learnAddress(table)
      for port in 1...20 as ClosedRange<UInt16> { table.update(cursor(port)) }
      table.remove(cursor(7).key)
      table.generation = 9
      table.phase = .answering
      let next = try CursorTable(attaching: memory)
      #expect(next.guest == Self.guest && next.capacity == 64)
      #expect(next.generation == 9 && next.phase == .answering)
      #expect(next.addresses.map(\.address.description) == ["10.0.0.7"])
      #expect(next.flowCount == 19)
      for port in 1...20 as ClosedRange<UInt16> {
        #expect(next.cursor(cursor(port).key) == (port == 7 ? nil : cursor(port)))
      }
    }
  }

  @Test("Memory that cannot hold a table is refused")
  func memory() {
    withMemory { memory in
      for count in [0, 100, 4096, 4096 + 64 * 8, 4096 + 64 * 48, memory.count - 1] {
        let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
        #expect(code { _ = try CursorTable(formatting: part, guest: Self.guest) } == .cursorMemory)
        #expect(code { _ = try CursorTable(attaching: part) } == .cursorMemory)
      }
      let shifted = UnsafeMutableRawBufferPointer(
        rebasing: memory[8..<8 + CursorTable.byteCount(capacity: 32)])
      #expect(code { _ = try CursorTable(formatting: shifted, guest: Self.guest) } == .cursorMemory)
    }
  }

  @Test("A table that is unfinished, of another version or size is refused")
  func format() throws {
    try withMemory { memory in
      _ = memory.initializeMemory(as: UInt8.self, repeating: 0)
      #expect(code { _ = try CursorTable(attaching: memory) } == .cursorFormat)
      for offset in [0, 8, 12, 16, 20] {
        _ = try CursorTable(formatting: memory, guest: Self.guest)
        #expect(code { _ = try CursorTable(attaching: memory) } == nil)
        memory[offset] ^= 1
        #expect(code { _ = try CursorTable(attaching: memory) } == .cursorFormat, "byte \(offset)")
      }
      _ = try CursorTable(formatting: memory, guest: Self.guest)
      memory[40] = 77
      #expect(try CursorTable(attaching: memory).phase == nil)
    }
  }

  @Test("A slot whose writer was killed is forgotten, the others are not")
  func torn() throws {
    try withMemory { memory in
      let table = try CursorTable(formatting: memory, guest: Self.guest)
      learnAddress(table)
      for port in 1...20 as ClosedRange<UInt16> { table.update(cursor(port)) }
      let slots = (0..<64).map { CursorTable.headerBytes + $0 * CursorTable.slotBytes }
      let used = slots.filter { memory[$0 + 4] != 0 }
      #expect(used.count == 20)
      let port = UInt16(memory[used[3] + 10]) | UInt16(memory[used[3] + 11]) << 8
      memory[used[3]] |= 1
      let next = try CursorTable(attaching: memory)
      #expect(next.flowCount == 19)
      #expect(next.cursor(cursor(port).key) == nil)
      // The slot is usable again, and whole.
      next.update(cursor(port))
      #expect(try CursorTable(attaching: memory).cursor(cursor(port).key) == cursor(port))
    }
  }

  @Test("A flow whose address is gone is forgotten")
  func orphan() throws {
    try withMemory { memory in
      let table = try CursorTable(formatting: memory, guest: Self.guest)
      table.update(cursor(1))
      #expect(table.flowCount == 1)
      #expect(try CursorTable(attaching: memory).flowCount == 0)
    }
  }

  @Test("A full table forgets half-open flows, then the one unseen for longest")
  func overflow() throws {
    try withMemory(capacity: 16) { memory in
      let table = try CursorTable(formatting: memory, guest: Self.guest)
      for port in 1...16 as ClosedRange<UInt16> {
        table.update(cursor(port, seen: 100 + UInt32(port)))
      }
      #expect(table.flowCount == 16 && table.replacedFlows == 0)
      var halfOpen = cursor(9, seen: 1000)
      halfOpen.flags.insert(.handshake)
      table.update(halfOpen)
      table.update(cursor(3, seen: 200))
      var victims: [UInt16] = []
      for port in 101...104 as ClosedRange<UInt16> {
        let before = (1...16).filter { table.cursor(cursor($0).key) != nil }
        table.update(cursor(port, seen: 300))
        #expect(table.cursor(cursor(port).key) != nil)
        victims += before.filter { table.cursor(cursor($0).key) == nil }
      }
      #expect(victims == [9, 1, 2, 4])
      #expect(table.flowCount == 16 && table.replacedFlows == 4)
    }
  }

  @Test("A guest with few flows takes two pages, whoever reads its table")
  func sparse() throws {
    let memory = try CursorTable.makeMemory(for: Self.guest)
    func pages() -> Int {
      var status = stat()
      return fstat(memory.rawValue, &status) == 0 ? Int(status.st_blocks) * 512 / 4096 : 0
    }
    #expect(pages() == 1)
    let size = CursorTable.byteCount()
    let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.rawValue, 0)
    let bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
    defer { munmap(address, size) }
    let table = try CursorTable(attaching: bytes)
    learnAddress(table)
    for port in 1...20 as ClosedRange<UInt16> { table.update(cursor(port)) }
    let next = try CursorTable(attaching: bytes)
    #expect(next.flowCount == 20)
    #expect(next.cursor(cursor(21).key) == nil)
    #expect(pages() == 2)
    // A copy of the first page in memory of its own says of no flow that it is there.
    let copy = try CursorTable.makeMemory(
      for: Self.guest, acquaintance: CursorTable.acquaintance(in: memory))
    var status = stat()
    #expect(fstat(copy.rawValue, &status) == 0 && status.st_blocks * 512 == 4096)
  }

  @Test("Many flows spread over the buckets of a table of the usual size")
  func spread() throws {
    try withMemory(capacity: CursorTable.defaultCapacity) { memory in
      let table = try CursorTable(formatting: memory, guest: Self.guest, seed: 1)
      for port in 1...512 as ClosedRange<UInt16> { table.update(cursor(port)) }
      #expect(table.flowCount > 505)
      table.removeAllFlows()
      #expect(table.flowCount == 0)
    }
  }
}
