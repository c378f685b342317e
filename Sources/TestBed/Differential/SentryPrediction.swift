import FoundationEssentials
import Frames
import Glibc
import LinuxSystem
import Seamless

/// What the sentry will do with frames, found out with its own logic on a copy of what it knows.
final class SentryPrediction {
  private let memory: UnsafeMutableRawBufferPointer
  private var sentry: Sentry
  private let mtu: Int
  private var replies = FrameBuffer()

  /// Copies the table of a guest that sleeps.
  ///
  /// - Parameter processes: the daemon and the sentry: one of them holds the memory of the cursors.
  init(of guest: Bytes, mtu: Int, in processes: [Int32]) throws {
    for process in processes {
      let directory = "/proc/\(process)/fd"
      for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
        let path = directory + "/" + name
        guard
          let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path),
          target.hasPrefix("/memfd:dormouse-cursors"), let copy = try? Self.copy(path)
        else { continue }
        if let table = try? CursorTable(attaching: copy), table.guest.bytes == guest {
          memory = copy
          self.mtu = mtu
          sentry = Sentry(table: table, mtu: mtu, at: MonotonicClock.nowNanoseconds())
          sentry.beginSleep()
          return
        }
        copy.deallocate()
      }
    }
    throw TestBedError(
      code: .malformed, message: "no process holds the cursors of \(guest.hexadecimal)")
  }

  deinit { memory.deallocate() }

  private static func copy(_ path: String) throws -> UnsafeMutableRawBufferPointer {
    let file = OwnedFileDescriptor(
      owning: try checked("open \(path)", open(path, O_RDONLY | O_CLOEXEC)))
    var status = stat()
    try checked("look at \(path)", fstat(file.rawValue, &status))
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Int(status.st_size), alignment: 64)
    guard pread(file.rawValue, memory.baseAddress, memory.count, 0) == memory.count else {
      memory.deallocate()
      throw LinuxError(code: .malformed, message: "\(path) cannot be read")
    }
    return memory
  }

  /// The verdict on the next frame, and the answers. A frame that wakes is not sent to the sentry, so it
  /// does not count against the limit of doubts. Datagrams do not count against the limit of ICMP errors
  /// either: whether that is reached depends on the time.
  func judge(_ frame: Bytes) -> (verdict: Verdict, answers: [Bytes]) {
    replies.removeAll()
    let now = MonotonicClock.nowNanoseconds()
    let isDatagram = AnswerKey.transport(of: frame) == Above.udp
    var trial = isDatagram ? Sentry(table: sentry.table, mtu: mtu, at: now) : sentry
    let verdict = frame.withUnsafeBytes { trial.verdict(for: $0, at: now, replies: &replies) }
    if case .wake = verdict { return (verdict, []) }
    if !isDatagram { sentry = trial }
    return (verdict, (0..<replies.count).map { replies.withFrame($0) { Bytes($0) } })
  }
}

extension MACAddress {
  fileprivate var bytes: Bytes {
    (0..<6).map { UInt8(truncatingIfNeeded: rawValue >> (40 - 8 * $0)) }
  }
}
