import CLinux
public import LinuxSystem

/// One process, for all time: a pid is used again, a pid together with its start time is not.
public struct ProcessIdentity: Codable, Hashable, Sendable, CustomStringConvertible {
  public let pid: Int32
  /// Clock ticks between boot and the process's start: field 22 of /proc/PID/stat (proc(5)).
  public let startTime: UInt64

  /// Names a process that was looked up earlier, such as one from a journal.
  public init(pid: Int32, startTime: UInt64) {
    self.pid = pid
    self.startTime = startTime
  }

  /// The process that has this pid now, dead or alive.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is none.
  public static func of(pid: Int32) throws(LinuxError) -> ProcessIdentity {
    ProcessIdentity(pid: pid, startTime: try ProcessStatus(pid: pid).startTime)
  }

  /// Whether the process still runs. A zombie, which only waits to be reaped, does not.
  public var isAlive: Bool {
    guard let status = try? ProcessStatus(pid: pid) else { return false }
    return status.startTime == startTime && !status.isDead
  }

  public var description: String { "process \(pid) (started at tick \(startTime))" }
}

/// The fields of /proc/PID/stat that are of use here.
package struct ProcessStatus: Hashable, Sendable {
  package let state: Character
  package let userTicks: UInt64
  package let systemTicks: UInt64
  package let threads: UInt64
  package let startTime: UInt64

  /// A leader that has ended while other threads of the process run on is shown as a zombie too.
  package var isDead: Bool { (state == "Z" && threads <= 1) || state == "X" || state == "x" }

  package init(pid: Int32) throws(LinuxError) {
    try self.init(path: "/proc/\(pid)/stat")
  }

  package init(path: String) throws(LinuxError) {
    let bytes: [UInt8]
    do {
      bytes = try KernelFile.bytes(path, limit: 4_096)
    } catch let error where error.code == .notFound || error.code == .gone {
      throw LinuxError(code: .gone, message: "no such process (\(path))", errno: error.errno)
    }
    guard let status = ProcessStatus(parsing: bytes) else {
      throw LinuxError(code: .malformed, message: "\(path) is not of the form that proc(5) gives")
    }
    self = status
  }

  /// The second field is the program's name in parentheses, and a program may be named ") R 1 (": what
  /// counts is the last closing parenthesis.
  package init?(parsing bytes: [UInt8]) {
    guard let close = bytes.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = bytes[(close + 1)...].split(separator: UInt8(ascii: " ")).map {
      String(decoding: $0, as: UTF8.self)
    }
    // The first of these is field 3.
    guard fields.count >= 20, let state = fields[0].first,
      let userTicks = UInt64(fields[11]), let systemTicks = UInt64(fields[12]),
      let threads = UInt64(fields[17]), let startTime = UInt64(fields[19])
    else { return nil }
    self.state = state
    self.userTicks = userTicks
    self.systemTicks = systemTicks
    self.threads = threads
    self.startTime = startTime
  }
}
