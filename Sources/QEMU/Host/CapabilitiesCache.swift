import Glibc
import LinuxProcess
import LinuxSystem

/// What was found out, by binary and kernel; callers that ask at the same time wait for one answer.
actor CapabilitiesCache {
  static let shared = CapabilitiesCache()

  private struct Key: Hashable {
    let binary: String
    let device: UInt64
    let inode: UInt64
    let size: Int64
    let modifiedSeconds: Int
    let modifiedNanoseconds: Int
    let kernel: String
    let credentials: Credentials?
  }

  private var answers: [Key: Task<Result<QEMUCapabilities, QEMUError>, Never>] = [:]

  func capabilities(
    binary: String, credentials: Credentials?
  ) async throws(QEMUError) -> QEMUCapabilities {
    let key = try key(binary: binary, credentials: credentials)
    // A task of its own: the first caller's cancellation must not be the others' answer.
    let task =
      answers[key]
      ?? Task {
        do throws(QEMUError) {
          return .success(
            try await QEMUCapabilities.find(binary: binary, credentials: credentials))
        } catch {
          return .failure(error)
        }
      }
    answers[key] = task
    let result = await task.value
    // A failure may be mended by the next time.
    if case .failure = result { answers[key] = nil }
    return try result.get()
  }

  private func key(binary: String, credentials: Credentials?) throws(QEMUError) -> Key {
    var status = stat()
    do {
      try checked("look at \(binary)", stat(binary, &status))
    } catch {
      throw QEMUError(
        .binary, "there is no QEMU at \(binary) (\(error)): install qemu-system-x86 10.0 or later",
        cause: error)
    }
    let kernel: String
    do {
      kernel = try KernelFile.text("/proc/sys/kernel/osrelease", limit: 4_096)
    } catch {
      throw QEMUError(.host, "cannot tell the kernel's version: \(error)", cause: error)
    }
    return Key(
      binary: binary, device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
      size: Int64(status.st_size), modifiedSeconds: status.st_mtim.tv_sec,
      modifiedNanoseconds: status.st_mtim.tv_nsec, kernel: kernel, credentials: credentials)
  }
}
