import Frames
import Seamless

extension FuzzTarget {
  /// The memory that a dead sentry leaves, which may be torn, or anything at all if the sentry was taken
  /// over. Input: 1 for bytes as they are, else places and values that change a good table; then what
  /// the table is used for.
  static let cursors = FuzzTarget("cursors", maximumLength: 4096) { input in
    var reader = InputReader(input)
    let count = CursorTable.byteCount(capacity: capacity)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
    defer { memory.deallocate() }
    let guest = MACAddress(wire: Station.guest.mac)
    _ = try CursorTable(formatting: memory, guest: guest, seed: 42)
    if reader.byte() == 1 {
      memory.copyBytes(from: reader.bytes(count))
    } else {
      for _ in 0..<Int(reader.byte()) {
        let place = Int(reader.number16()) % (count - 8)
        UnsafeMutableRawBufferPointer(rebasing: memory[place...]).copyBytes(from: reader.bytes(8))
      }
    }
    guard let table = try? CursorTable(attaching: memory) else { return }
    try use(table, &reader)
    // What has been used is whole again.
    _ = try CursorTable(attaching: memory)
  }

  private static let capacity = 16

  private static func use(_ table: CursorTable, _ reader: inout InputReader) throws {
    var now: UInt64 = 1000 * 1_000_000_000
    var learner = Learner(table: table, at: now)
    var sentry = Sentry(table: table, mtu: 1500, at: now)
    var replies = FrameBuffer()
    sentry.beginSleep()
    _ = (table.phase, table.generation)
    for _ in 0..<64 where !reader.isAtEnd {
      now += 1_000_000_000
      let choice = reader.byte()
      let sketches = Sketches(isIPv6: choice & 1 != 0, isFromGuest: choice & 2 != 0)
      let frame =
        choice & 4 == 0
        ? sketches.other(reader.byte(), reader.byte())
        : sketches.segment(
          sequence: reader.number32(), acknowledgement: reader.number32(), flags: reader.byte(),
          timestamps: choice & 8 == 0 ? nil : (reader.number32(), reader.number32()),
          payloadLength: Int(choice >> 4))
      replies.removeAll()
      frame.withUnsafeBytes {
        if sketches.isFromGuest || choice & 128 != 0 {
          _ = learner.observe(
            $0, direction: sketches.isFromGuest ? .fromGuest : .toGuest, at: now)
        } else {
          _ = sentry.verdict(for: $0, at: now, replies: &replies)
        }
      }
      for index in 0..<replies.count {
        let defect = replies.withFrame(index) { WireFrame([UInt8]($0))?.defect }
        try demand(defect == nil, "an answer with \(defect ?? "")")
      }
    }
    try demand(learner.quiescence(at: now).count <= 40, "too many obstacles at once")
    try demand(table.flowCount <= capacity && table.addresses.count <= 32, "too much in a table")
    try demand(table.ipv4Groups.count <= 32 && table.ipv6Groups.count <= 48, "too many groups")
  }
}
