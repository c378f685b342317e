import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// A power of root that can be given alone (capabilities(7)).
public struct Capability: RawRepresentable, Hashable, Sendable {
  public let rawValue: CInt
  public init(rawValue: CInt) { self.rawValue = rawValue }

  /// CAP_NET_ADMIN: configure interfaces, traffic control, routes.
  public static let netAdmin = Capability(rawValue: 12)
  /// CAP_NET_RAW: raw and packet sockets.
  public static let netRaw = Capability(rawValue: 13)
}

/// Whom a launched program runs as. It can never gain more (no_new_privs), and its bounding set holds
/// nothing but `ambientCapabilities`.
public struct Credentials: Hashable, Sendable {
  public var uid: UInt32
  public var gid: UInt32
  public var supplementaryGroups: [UInt32]
  /// What it has in spite of its user, for itself and the programs that it runs.
  public var ambientCapabilities: [Capability]

  public init(
    uid: UInt32, gid: UInt32, supplementaryGroups: [UInt32] = [],
    ambientCapabilities: [Capability] = []
  ) {
    self.uid = uid
    self.gid = gid
    self.supplementaryGroups = supplementaryGroups
    self.ambientCapabilities = ambientCapabilities
  }
}

/// A program to start, and all that it inherits: nothing else does.
///
/// It starts in `/` with umask 077, default signal actions and no signal blocked.
public struct LaunchConfiguration: Sendable {
  /// Path of the program; PATH is not searched.
  public var executable: String
  /// Its name for itself and for process lists (argument zero); nil for the path.
  public var name: String?
  /// Its arguments, without the name.
  public var arguments: [String]
  /// The whole environment.
  public var environment: [String: String]
  /// The descriptors it has open: number in the child, number in this process. Those of 0, 1 and 2 that are
  /// not given are /dev/null. This process keeps its own.
  public var descriptors: [CInt: CInt]
  /// Whether it leads a session of its own (setsid(2)), out of reach of the caller's terminal.
  public var newSession: Bool
  /// Whom it runs as; nil for the caller's own identity and powers.
  public var credentials: Credentials?
  /// `cgroup.procs` files of the control groups that it enters, before it gives up any power, so that all
  /// of its memory is charged there.
  public var controlGroupProcessFiles: [String]

  public init(
    executable: String, name: String? = nil, arguments: [String] = [],
    environment: [String: String] = [:],
    descriptors: [CInt: CInt] = [:], newSession: Bool = true, credentials: Credentials? = nil,
    controlGroupProcessFiles: [String] = []
  ) {
    self.executable = executable
    self.name = name
    self.arguments = arguments
    self.environment = environment
    self.descriptors = descriptors
    self.newSession = newSession
    self.credentials = credentials
    self.controlGroupProcessFiles = controlGroupProcessFiles
  }
}

/// Starts a program that lives on when this process ends.
///
/// Returns when the program's image is loaded, which takes milliseconds. While the launcher lives it is the
/// parent and must reap the child: open a ``ProcessHandle``, and call ``ProcessHandle/reap()`` when
/// ``ProcessHandle/waitForExit(timeout:)`` says so. Afterwards init does.
///
/// - Throws: ``LinuxError`` with the step that failed, ``LinuxError/Code/notFound`` when there is no such
///   program; no process is left behind then.
public func launchDetached(
  _ configuration: LaunchConfiguration
) throws(LinuxError) -> ProcessIdentity {
  let strings =
    [configuration.executable, configuration.name ?? ""] + configuration.arguments
    + configuration.environment.flatMap { [$0.key, $0.value] }
    + configuration.controlGroupProcessFiles
  guard !strings.contains(where: { $0.utf8.contains(0) }),
    !configuration.environment.keys.contains(where: { $0.isEmpty || $0.contains("=") }),
    !configuration.descriptors.keys.contains(where: { $0 < 0 }),
    !(configuration.credentials?.ambientCapabilities ?? [])
      .contains(where: { !(0..<64).contains($0.rawValue) })
  else {
    throw LinuxError(
      code: .malformed,
      message:
        "cannot start \(configuration.executable): a string holds a zero byte, a variable has "
        + "no proper name, or a number is out of range")
  }

  let arguments = CStringArray(
    [configuration.name ?? configuration.executable] + configuration.arguments)
  let environment = CStringArray(
    configuration.environment.map { "\($0.key)=\($0.value)" }.sorted())
  let groupFiles = CStringArray(configuration.controlGroupProcessFiles)
  let descriptors = Array(configuration.descriptors)
  let targets = descriptors.map(\.key)
  let sources = descriptors.map(\.value)
  let groups = configuration.credentials?.supplementaryGroups ?? []

  var step: CInt = 0
  var failure: CInt = 0
  let pid = withExtendedLifetime((arguments, environment, groupFiles)) {
    configuration.executable.withCString { path in
      targets.withUnsafeBufferPointer { targets in
        sources.withUnsafeBufferPointer { sources in
          groups.withUnsafeBufferPointer { groups in
            var launch = dormouse_launch()
            launch.path = path
            launch.arguments = UnsafePointer(arguments.pointer)
            launch.environment = UnsafePointer(environment.pointer)
            launch.group_files = UnsafePointer(groupFiles.pointer)
            launch.targets = targets.baseAddress
            launch.sources = sources.baseAddress
            launch.descriptor_count = targets.count
            launch.new_session = configuration.newSession ? 1 : 0
            if let credentials = configuration.credentials {
              launch.has_credentials = 1
              launch.uid = credentials.uid
              launch.gid = credentials.gid
              launch.groups = groups.baseAddress
              launch.group_count = groups.count
              for capability in credentials.ambientCapabilities {
                launch.capabilities |= 1 << UInt64(capability.rawValue)
              }
            }
            return dormouse_launch(&launch, &step, &failure)
          }
        }
      }
    }
  }
  guard pid > 0 else {
    throw LinuxError(
      "start \(configuration.executable): \(describe(UInt32(bitPattern: step)))",
      Errno(rawValue: failure))
  }
  return try ProcessIdentity.of(pid: pid)
}

private func describe(_ step: UInt32) -> String {
  switch dormouse_launch_step(rawValue: step) {
  case dormouse_launch_control_group: "enter its control group"
  case dormouse_launch_descriptors: "arrange its descriptors"
  case dormouse_launch_session: "start its session"
  case dormouse_launch_bounding_set: "cut its capability bounding set"
  case dormouse_launch_identity: "become its user"
  case dormouse_launch_capabilities: "limit its capabilities"
  case dormouse_launch_execute: "execute it"
  default: "fork"
  }
}

/// A NULL-terminated array of C strings, alive as long as this object.
private final class CStringArray {
  let pointer: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ strings: [String]) {
    count = strings.count
    pointer = .allocate(capacity: strings.count + 1)
    for (index, string) in strings.enumerated() {
      (pointer + index).initialize(to: strdup(string))
    }
    (pointer + strings.count).initialize(to: nil)
  }

  deinit {
    for index in 0..<count { free(pointer[index]) }
    pointer.deallocate()
  }
}
