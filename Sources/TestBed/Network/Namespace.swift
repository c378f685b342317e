import LinuxNetwork
import LinuxProcess
import LinuxSystem

/// A named network namespace of the lab. It goes with the last process in it, and with the lab.
public final class Namespace: Sendable {
  /// What `ip netns` calls it.
  public let name: String
  private let namespace: NetworkNamespace

  init(named name: String) async throws {
    self.name = name
    namespace = try await NetworkNamespace.create(named: name)
    try await perform {
      let netlink = try RouteNetlink()
      guard let loopback = try netlink.linkIndex(named: "lo") else { return }
      try netlink.setUp(loopback, up: true)
    }
  }

  var descriptor: CInt { namespace.descriptor }

  /// Runs a body on a thread of its own inside; it may block.
  public func perform<Value: ~Copyable & Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    try await namespace.perform(body)
  }

  /// Runs a program inside to its end, as ``Command/run(_:directory:input:deadline:)`` does.
  @discardableResult
  public func run(_ words: String..., deadline: Duration = .seconds(60)) async throws -> String {
    try await Command.run(entering + words, deadline: deadline)
  }

  /// What goes before a command to run it inside. Not `ip netns exec`, which mounts /sys anew and
  /// so hides the control groups.
  var entering: [String] { ["nsenter", "--net=/run/netns/" + name] }

  /// Starts a program inside that goes on by itself.
  func launch(_ configuration: LaunchConfiguration) async throws -> ProcessIdentity {
    try await perform { try launchDetached(configuration) }
  }

  /// Takes the name away.
  public func remove() {
    // Only a name: the lab's end would take it away as well.
    try? NetworkNamespace.remove(named: name)
  }
}
