import Glibc
import LinuxSystem

/// What a QEMU writes to its standard error: why it did not start, for example.
///
/// The socket for it is never waited for, at neither end: when it is full (some 200 KiB; a guest can make
/// QEMU complain a lot) or nobody reads any more, the complaints are lost and QEMU goes on.
public final class Complaints: Sendable {
  private let ends: SocketPair

  init() throws(QEMUError) {
    ends = try SocketPair(waiting: false)
  }

  /// What QEMU is to inherit.
  var inlet: CInt { ends.theirs.rawValue }

  /// The end of what has been written since the last call, if anything has: at most 400 characters, with
  /// its lines joined by semicolons.
  public func recent() -> String? {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 1 << 20 {
      let count = read(ends.ours.rawValue, &chunk, chunk.count)
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
    return lines.isEmpty ? nil : String(lines.joined(separator: "; ").suffix(400))
  }
}
