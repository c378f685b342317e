import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// A network namespace (network_namespaces(7)), held open: it exists at least as long as this
/// value.
public struct NetworkNamespace: ~Copyable, Sendable {
  /// Where `ip netns` keeps its names (ip-netns(8)).
  private static let directory = "/run/netns"
  private static let ofThisThread = "/proc/thread-self/ns/net"

  private let file: OwnedFileDescriptor

  /// Names the namespace to the kernel, as in
  /// ``RouteNetlink/createVethPair(named:peer:peerNamespace:)``. It belongs to this value.
  public var descriptor: CInt { file.rawValue }

  private init(path: String, _ operation: String) throws(LinuxError) {
    file = OwnedFileDescriptor(owning: try checked(operation, dormouse_open(path, O_RDONLY, 0)))
  }

  /// The namespace that `ip netns` calls by that name.
  public static func open(named name: String) throws(LinuxError) -> NetworkNamespace {
    let path = try path(ofName: name)
    return try NetworkNamespace(path: path, "open network namespace \(name)")
  }

  /// The namespace at a path such as /proc/PID/ns/net. That the file is a network namespace shows
  /// at first use.
  public static func open(path: String) throws(LinuxError) -> NetworkNamespace {
    try NetworkNamespace(path: path, "open network namespace \(path)")
  }

  /// The namespace of the calling thread.
  public static func current() throws(LinuxError) -> NetworkNamespace {
    try NetworkNamespace(path: ofThisThread, "open the thread's network namespace")
  }

  /// Makes a namespace without a name, with nothing but a loopback interface that is down. It goes
  /// when nothing uses it any more.
  public static func create() async throws -> NetworkNamespace {
    try await onDedicatedThread {
      try unshareNetwork()
      return try current()
    }
  }

  /// Makes a namespace and gives it a name, as `ip netns add` does: for a lab. It stays until
  /// ``remove(named:)``.
  public static func create(named name: String) async throws -> NetworkNamespace {
    let target = try path(ofName: name)
    return try await onDedicatedThread {
      try prepareDirectory()
      // Exclusive: the name must be new.
      OwnedFileDescriptor(
        owning: try checked(
          "create \(target)", dormouse_open(target, O_RDONLY | O_CREAT | O_EXCL, 0))
      ).close()
      do throws(LinuxError) {
        try unshareNetwork()
        try checked(
          "name network namespace \(name)", dormouse_bind_mount(ofThisThread, target, 0))
        return try current()
      } catch {
        _ = unlink(target)
        throw error
      }
    }
  }

  /// Takes a namespace's name away, as `ip netns delete` does. Does nothing if the name is unknown.
  /// The namespace itself goes when nothing uses it any more.
  public static func remove(named name: String) throws(LinuxError) {
    let target = try path(ofName: name)
    let operation = "remove network namespace \(name)"
    do throws(LinuxError) {
      do throws(LinuxError) {
        try checked(operation, dormouse_unmount_lazily(target))
      } catch  where error.errno == .invalidArgument {
        // Not mounted: a name whose creation was cut short.
      }
      try checked(operation, unlink(target))
    } catch  where error.errno == .noSuchFileOrDirectory {
    }
  }

  /// Runs a body on a thread of its own inside the namespace. Sockets and taps made there stay in
  /// the namespace; the thread ends with the body, so that no other work ever runs there by
  /// accident.
  ///
  /// The body may block. It may not hand work to other threads and expect it to be in the
  /// namespace.
  public borrowing func perform<Value: ~Copyable & Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    let number = file.rawValue
    return try await onDedicatedThread {
      try checked("enter a network namespace", dormouse_join_network(number))
      return try body()
    }
  }

  private static func unshareNetwork() throws(LinuxError) {
    try checked("create a network namespace", dormouse_unshare_network())
  }

  /// The directory must be a shared mount, so that names made here show in other mount namespaces
  /// and are not kept alive there once removed.
  private static func prepareDirectory() throws(LinuxError) {
    let operation = "prepare \(directory)"
    do throws(LinuxError) {
      try checked(operation, mkdir(directory, 0o755))
    } catch  where error.errno == .fileExists {
    }
    if dormouse_make_shared(directory) == 0 { return }
    try checked(operation, dormouse_bind_mount(directory, directory, 1))
    try checked(operation, dormouse_make_shared(directory))
  }

  private static func path(ofName name: String) throws(LinuxError) -> String {
    guard !name.isEmpty, name.utf8.count <= 255, name != ".", name != "..",
      !name.utf8.contains(where: { $0 == 0x2f || $0 == 0 })
    else {
      throw LinuxError("using \"\(name)\" as the name of a network namespace", .invalidArgument)
    }
    return "\(directory)/\(name)"
  }
}
