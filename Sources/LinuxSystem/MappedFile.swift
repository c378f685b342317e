import CLinux
import Glibc
import SystemPackage

/// A shared mapping of a file, or of a part of it, with exactly one owner, unmapped exactly once: when the
/// owner goes away.
public struct MappedFile: ~Copyable {
  /// What may be done with the bytes; the descriptor must permit it.
  public enum Access: Sendable {
    case reading
    case writing
  }

  /// Advice about parts of a mapping (madvise(2)).
  public enum Advice: Sendable {
    /// Begin to read, without waiting for the device.
    case willNeed
    /// Read, and enter into this process's page table; from Linux 5.14 on.
    case populate
    /// Write to swap what only this process has mapped.
    case pageOut

    fileprivate var rawValue: CInt {
      switch self {
      case .willNeed: MADV_WILLNEED
      case .populate: MADV_POPULATE_READ
      case .pageOut: MADV_PAGEOUT
      }
    }
  }

  /// Bytes mapped.
  public let size: Int
  private let start: UnsafeMutableRawPointer

  /// Maps a part of an open file.
  ///
  /// - Parameters:
  ///   - descriptor: is not needed any more afterwards.
  ///   - what: for messages, as in `"map the VM's memory"`.
  ///   - offset: of the first byte in the file, a multiple of the page size.
  ///   - size: in bytes, more than 0.
  public init(
    _ descriptor: CInt, _ what: String, from offset: UInt64 = 0, size: UInt64, for access: Access
  ) throws(LinuxError) {
    guard let size = Int(exactly: size), let offset = off_t(exactly: offset) else {
      throw LinuxError("map \(what)", .outOfRange)
    }
    let protection = access == .reading ? PROT_READ : PROT_READ | PROT_WRITE
    let address = mmap(nil, size, protection, MAP_SHARED, descriptor, offset)
    guard let address, address != MAP_FAILED else {
      throw LinuxError("map \(what)", Errno(rawValue: dormouse_errno()))
    }
    start = address
    self.size = size
  }

  deinit {
    munmap(start, size)
  }

  /// Where it is mapped in this process.
  public var addresses: Range<UInt64> {
    let first = UInt64(UInt(bitPattern: start))
    return first..<first + UInt64(size)
  }

  /// The bytes themselves. Valid for as long as this value lives: who keeps them keeps it.
  public var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: start, count: size)
  }

  /// Gives advice about a part of it. May block for as long as the device needs.
  ///
  /// - Parameters:
  ///   - range: in bytes from the mapping's start, inside it.
  ///   - what: for messages, as in `"page out the VM's memory"`.
  public borrowing func advise(
    _ advice: Advice, _ range: Range<UInt64>, to what: String
  ) throws(LinuxError) {
    guard range.upperBound <= UInt64(size) else { throw LinuxError(what, .outOfRange) }
    try checked(what, madvise(start + Int(range.lowerBound), range.count, advice.rawValue))
  }
}
