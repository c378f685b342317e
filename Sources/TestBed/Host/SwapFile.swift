import Glibc

/// A swap file of the lab. The lab's end removes those that a test has left active.
public struct SwapFile: Sendable, Hashable {
  public let path: String

  init(path: String) { self.path = path }

  /// Makes a swap file in the lab's directory; it is not active yet.
  public init(in lab: Lab, megabytes: Int) async throws {
    path = "\(lab.directory)/swap\(Lab.nextNumber())"
    // Readable by nobody else from its first byte on, and without holes, which swapon refuses.
    try await Command.run("install", "-m", "0600", "/dev/null", path)
    try await Command.run("fallocate", "--length", "\(megabytes)MiB", path)
    try await Command.run("mkswap", path)
  }

  /// Makes it active. Areas of higher priority are filled first.
  public func activate(priority: Int = 30_000) async throws {
    try await Command.run("swapon", "--priority", "\(priority)", path)
  }

  /// Brings what it holds back to memory and takes it out of use.
  public func deactivate() async throws {
    try await Command.run("swapoff", path, deadline: .seconds(300))
  }

  /// Deletes the file, which must not be active.
  public func remove() {
    unlink(path)
  }
}
