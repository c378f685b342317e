public import LinuxProcess
import LinuxSystem

/// The record as a file: it survives the daemon, but not the QEMU process that it is about.
///
/// ```
/// magic "DMWAKE\0\1" (the last byte is the version), process number, number of parts   8 + 4 + 4 bytes
/// start time of the process, checksum of all that follows                              8 + 8
/// each part: first address, pages, period, misses, 0                                   8 + 4 + 1 + 1 + 2
/// ```
/// All numbers are little-endian.
extension WakeRecord {
  private static let magic: [UInt8] = Array("DMWAKE".utf8) + [0, 1]
  private static let headerBytes = 32
  private static let partBytes = 16
  private static let page: UInt = 4096
  /// No record is longer.
  package static let maximumBytes = headerBytes + maximumParts * partBytes

  /// The file's content.
  ///
  /// - Parameter process: the QEMU that it is about.
  public func encoded(for process: ProcessIdentity) -> [UInt8] {
    var body: [UInt8] = []
    body.reserveCapacity(parts.count * Self.partBytes)
    for part in parts {
      body += Self.bytes(UInt64(part.addresses.lowerBound))
      body += Self.bytes(UInt32(clamping: UInt(part.addresses.count) / Self.page))
      body += [part.period, part.misses, 0, 0]
    }
    return Self.magic + Self.bytes(UInt32(bitPattern: process.pid))
      + Self.bytes(UInt32(clamping: parts.count)) + Self.bytes(process.startTime)
      + Self.bytes(Self.checksum(body)) + body
  }

  /// Reads a file's content.
  ///
  /// - Parameter process: the QEMU that it must be about.
  /// - Throws: ``SuspendError`` `.badRecord`: it is damaged, of another version or about another process.
  public init(decoding bytes: [UInt8], of process: ProcessIdentity) throws(SuspendError) {
    guard bytes.count >= Self.headerBytes, bytes.count <= Self.maximumBytes,
      bytes[..<8].elementsEqual(Self.magic),
      bytes.count == Self.headerBytes + Int(Self.number(bytes, 12, 4)) * Self.partBytes,
      Self.number(bytes, 24, 8) == Self.checksum(bytes[Self.headerBytes...])
    else {
      throw SuspendError(.badRecord, "the record of what a wake uses is damaged")
    }
    guard Self.number(bytes, 8, 4) == UInt64(UInt32(bitPattern: process.pid)),
      Self.number(bytes, 16, 8) == process.startTime
    else {
      throw SuspendError(.badRecord, "the record of what a wake uses is about another process")
    }
    var parts: [Part] = []
    for offset in stride(from: Self.headerBytes, to: bytes.count, by: Self.partBytes) {
      let start = UInt(Self.number(bytes, offset, 8))
      let length = UInt(Self.number(bytes, offset + 8, 4)) * Self.page
      let (end, overflow) = start.addingReportingOverflow(length)
      guard length > 0, !overflow, start % Self.page == 0, bytes[offset + 12] < Self.periods.count,
        bytes[offset + 13] <= Self.maximumMisses
      else {
        throw SuspendError(.badRecord, "the record of what a wake uses makes no sense")
      }
      parts.append(
        Part(addresses: start..<end, period: bytes[offset + 12], misses: bytes[offset + 13]))
    }
    guard
      AddressRanges.bytes(AddressRanges.merged(parts.map(\.addresses)))
        == AddressRanges.bytes(parts.map(\.addresses))
    else {
      throw SuspendError(.badRecord, "the record of what a wake uses overlaps itself")
    }
    self.init(parts: parts)
  }

  /// Reads a file.
  ///
  /// - Returns: an empty record when there is no such file.
  /// - Throws: ``SuspendError`` `.badRecord`, `LinuxError`.
  public static func read(_ path: String, of process: ProcessIdentity) throws -> WakeRecord {
    let bytes: [UInt8]
    do throws(LinuxError) {
      bytes = try KernelFile.bytes(path, limit: maximumBytes)
    } catch  where error.code == .notFound {
      return .empty
    } catch  where error.code == .malformed {
      throw SuspendError(.badRecord, "the record of what a wake uses is too long")
    }
    return try WakeRecord(decoding: bytes, of: process)
  }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  private static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// FNV-1a, 64 bits: against accidents, not against people.
  private static func checksum(_ bytes: some Sequence<UInt8>) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
