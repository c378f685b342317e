/// The checksum of the Internet protocols (RFC 1071): the one's complement of the one's
/// complement sum of 16-bit words.
///
/// Sums eight bytes at a time in the machine's byte order; the sum is independent of it but for
/// a final swap (RFC 1071, 2 (B)). Each part that is added must begin at an even offset of what
/// is summed.
public struct InternetChecksum: Sendable {
  /// One's complement sum of what was added so far, as little-endian words.
  private var sum: UInt64 = 0

  public init() {}

  @inline(__always)
  private mutating func add(littleEndian word: UInt64) {
    let (partial, overflow) = sum.addingReportingOverflow(word)
    sum = partial &+ (overflow ? 1 : 0)
  }

  /// Adds bytes; an odd last one counts as if a zero followed.
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while offset + 8 <= bytes.count {
      add(
        littleEndian: UInt64(
          littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset += 8
    }
    var rest: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count {
      rest |= UInt64(bytes[offset]) << shift
      shift += 8
      offset += 1
    }
    add(littleEndian: rest)
  }

  /// Adds a 64-bit field as it is on the wire.
  public mutating func add(_ word: UInt64) {
    add(littleEndian: word.byteSwapped)
  }

  /// Adds the pseudo-header that TCP, UDP and ICMPv6 cover (RFC 9293, 3.1; RFC 8200, 8.1).
  /// `length` is that of the transport header and its payload in bytes.
  public mutating func addPseudoHeader(
    source: IPAddress, destination: IPAddress, protocolNumber: UInt8, length: Int
  ) {
    add(source)
    add(destination)
    add(UInt64(protocolNumber))
    add(UInt64(UInt32(truncatingIfNeeded: length)))
  }

  private mutating func add(_ address: IPAddress) {
    switch address {
    case .v4(let address):
      add(UInt64(address.rawValue))
    case .v6(let address):
      add(address.high)
      add(address.low)
    }
  }

  /// The value of the checksum field, and 0 for a sum over bytes that contain a right one.
  public var value: UInt16 {
    var folded = (sum & 0xffff_ffff) + (sum >> 32)
    folded = (folded & 0xffff) + (folded >> 16)
    folded = (folded & 0xffff) + (folded >> 16)
    folded = (folded & 0xffff) + (folded >> 16)
    return ~UInt16(truncatingIfNeeded: folded).byteSwapped
  }
}
