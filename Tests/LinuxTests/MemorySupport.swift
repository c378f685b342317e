import Glibc
import LinuxMemory
import LinuxProcess
import LinuxSystem

/// A mapping of this process, shared with a file or anonymous, unmapped at the end.
final class SharedMapping: Sendable {
  let addresses: Range<UInt>

  /// - Parameter file: nil for private anonymous memory.
  init(of file: CInt?, size: Int) throws {
    let address = mmap(
      nil, size, PROT_READ | PROT_WRITE, file == nil ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
      file ?? -1, 0)
    guard let address, address != MAP_FAILED else {
      throw LinuxError("mmap", .init(rawValue: errno))
    }
    let start = UInt(bitPattern: address)
    addresses = start..<(start + UInt(size))
  }

  var pointer: UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: addresses.lowerBound)
  }

  /// Fills whole pages with bytes that neither compress nor repeat.
  func fillRandomly(_ range: Range<Int>) {
    var state: UInt64 = UInt64(range.lowerBound) &* 0x9e37_79b9_7f4a_7c15 | 1
    for offset in stride(from: range.lowerBound, to: range.upperBound, by: 8) {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      pointer?.storeBytes(of: state, toByteOffset: offset, as: UInt64.self)
    }
  }

  /// One sum over everything, which reads every page.
  func checksum() -> UInt64 {
    guard let pointer else { return 0 }
    let words = UnsafeRawBufferPointer(start: pointer, count: addresses.count)
    var sum: UInt64 = 0
    for offset in stride(from: 0, to: words.count, by: 512) {
      sum = sum &* 31 &+ words.load(fromByteOffset: offset, as: UInt64.self)
    }
    return sum
  }

  deinit { munmap(pointer, addresses.count) }
}

let pageSize = Int(getpagesize())

/// A swap file of the test's own.
struct SwapFile: ~Copyable {
  let path: String

  /// Makes the file and swaps to it. Takes away what a killed test run has left.
  init(size: Int) async throws {
    Self.removeAbandoned()
    path = "\(Self.directory)/\(Self.prefix)\(getpid())"
    let file = OwnedFileDescriptor(
      owning: try checked(
        "make \(path)", open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)))
    let failure = posix_fallocate(file.rawValue, 0, off_t(size))
    guard failure == 0 else { throw LinuxError("allocate \(path)", .init(rawValue: failure)) }
    file.close()
    let result = try await output(of: "mkswap -q \(path) && swapon \(path)")
    guard result.status == .exited(0) else {
      throw LinuxError(code: .system, message: "no swap for the test: \(result.text)")
    }
  }

  /// Not a file system in memory: a swap file needs a real one.
  private static let directory = "/var/tmp"
  private static let prefix = "dormouse-linux-tests-swap-"

  private static func removeAbandoned() {
    for name in (try? KernelFile.names(in: directory)) ?? [] where name.hasPrefix(prefix) {
      guard let pid = Int32(name.dropFirst(prefix.count)), kill(pid, 0) != 0 else { continue }
      swapOff("\(directory)/\(name)")
      unlink("\(directory)/\(name)")
    }
  }

  /// Waits for the command in place: this also runs where nothing can be awaited.
  private static func swapOff(_ path: String) {
    let launch = LaunchConfiguration(executable: "/sbin/swapoff", arguments: [path])
    guard let identity = try? launchDetached(launch) else { return }
    var information = siginfo_t()
    _ = waitid(P_PID, id_t(identity.pid), &information, WEXITED)
  }

  deinit {
    Self.swapOff(path)
    unlink(path)
  }
}
