import CLinux
import Glibc
public import LinuxSystem

/// What /proc tells about a process. By pid: hold a ``ProcessHandle`` where it matters that it is still
/// the same one.
public enum ProcessInspection {
  /// The time that one thread has spent on a CPU, for a vCPU thread guest time included.
  ///
  /// In nanoseconds from /proc/PID/task/TID/schedstat where the kernel keeps it (CONFIG_SCHED_INFO), in
  /// clock ticks from stat elsewhere.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such thread.
  public static func threadCPUTime(pid: Int32, tid: Int32) throws(LinuxError) -> Duration {
    let task = "/proc/\(pid)/task/\(tid)"
    if let text = try? KernelFile.text("\(task)/schedstat", limit: 4_096),
      let onCPU = text.split(separator: " ").first.flatMap({ Int64($0) }), onCPU > 0
    {
      return .nanoseconds(onCPU)
    }
    let status = try ProcessStatus(path: "\(task)/stat")
    return duration(ticks: status.userTicks &+ status.systemTicks)
  }

  private static func duration(ticks: UInt64) -> Duration {
    let perSecond = UInt64(max(dormouse_clock_ticks(), 1))
    return .seconds(Int64(clamping: ticks / perSecond))
      + .nanoseconds(Int64(clamping: ticks % perSecond * 1_000_000_000 / perSecond))
  }

  /// The time that all threads of a process have spent on a CPU so far, in the kernel's clock ticks, mostly
  /// of 10 ms.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public static func processorTime(of pid: Int32) throws(LinuxError) -> Duration {
    let status = try ProcessStatus(path: "/proc/\(pid)/stat")
    return duration(ticks: status.userTicks &+ status.systemTicks)
  }

  /// The process's open descriptors, in order, with what /proc/PID/fd says they point to: a path, or
  /// something like `socket:[1234]`, `anon_inode:[eventfd]`, `/memfd:ram (deleted)`.
  ///
  /// Descriptors that are opened or closed during the call may be in the list or not.
  ///
  /// - Throws: ``LinuxError/Code/gone`` when there is no such process.
  public static func descriptors(
    of pid: Int32
  ) throws(LinuxError) -> [(number: CInt, target: String)] {
    let path = "/proc/\(pid)/fd"
    let names: [String]
    do throws(LinuxError) {
      names = try KernelFile.names(in: path)
    } catch  where error.code == .notFound || error.code == .gone {
      throw LinuxError(code: .gone, message: "there is no process \(pid)", errno: error.errno)
    }
    var found: [(number: CInt, target: String)] = []
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    for name in names {
      guard let number = CInt(name) else { continue }
      let length = dormouse_readlink("\(path)/\(name)", &target, target.count)
      guard length > 0 else { continue }
      found.append((number, String(decoding: target[..<length], as: UTF8.self)))
    }
    return found.sorted { $0.number < $1.number }
  }
}
