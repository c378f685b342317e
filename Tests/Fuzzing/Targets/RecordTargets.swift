import LinuxNetwork
import LinuxProcess
import QEMU
import SuspendToSwap
import Templates

extension FuzzTarget {
  /// The record of what a wake uses. Input: choices (1: magic, process, number of parts and checksum are put
  /// right first; 2: the next wake was watched to its end), then the file.
  static let wake = FuzzTarget("wake", maximumLength: 1024) { input in
    var reader = InputReader(input)
    let choices = reader.byte()
    var file = reader.remainder()
    let process = ProcessIdentity(pid: 7, startTime: 9)
    if choices & 1 != 0 { file = repaired(file, for: process) }
    guard let record = try? WakeRecord(decoding: file, of: process) else { return }
    try demand(
      try WakeRecord(decoding: record.encoded(for: process), of: process) == record,
      "a record that changes when it is written")
    for (first, second) in zip(record.parts, record.parts.dropFirst()) {
      try demand(!first.addresses.overlaps(second.addresses), "parts that overlap")
    }
    guard let first = record.order.first else { return }
    let next = record.refreshed(
      by: [[first], [0x1000..<0x5000]], stayed: record.order.suffix(1), isComplete: choices & 2 != 0
    )
    try demand(
      try WakeRecord(decoding: next.encoded(for: process), of: process) == next,
      "a record that cannot be read again")
  }

  private static func repaired(_ file: [UInt8], for process: ProcessIdentity) -> [UInt8] {
    let header = WakeRecord.empty.encoded(for: process)
    var body = [UInt8](file.dropFirst(header.count))
    body.removeLast(body.count % 16)
    let count = UInt32(body.count / 16)
    let checksum = body.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return header[..<12] + littleEndian(count) + header[16..<24] + littleEndian(checksum) + body
  }

  private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
  }

  /// What a template says of itself, and the command line that is made from it. Input: the text.
  static let template = FuzzTarget("template", maximumLength: 4096) { input in
    guard let manifest = try? TemplateManifest.decode([UInt8](input), at: "/t") else { return }
    let again = try TemplateManifest.decode(try manifest.encoded(), at: "/t")
    try demand(again.machine == manifest.machine, "a machine that changes when it is written")
    let machine = manifest.machine
    try demand(
      (16 << 20...1 << 44).contains(machine.memoryBytes) && (1...255).contains(machine.cpus),
      "a machine that cannot be")
    let other = try machine.with(
      name: "other",
      disks: machine.disks.map { _ in DiskDescription(path: "/d", format: .raw) },
      kernel: machine.kernel.map { _ in "/k" },
      initrd: machine.kernel?.initrd.map { _ in "/i" })
    try demand(other.guestChannels == machine.guestChannels, "other hardware")
  }

  /// The sockets that a guest lists. Input: the text.
  static let ports = FuzzTarget("ports", maximumLength: 4096) { input in
    let listing = [UInt8](input)
    guard let ports = try? SocketListing.ports(in: listing) else { return }
    let lines = listing.count { $0 == UInt8(ascii: "\n") }
    try demand(ports.count < lines, "more ports than lines")
  }
}
