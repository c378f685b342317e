import API
import Client
import FoundationEssentials
import Synchronization
import TestBed
import Testing

/// A network with a client and a daemon, and one guest that has booted.
final class Scene: Sendable {
  let lab: Lab
  let network: LabNetwork
  let client: LabClient
  let daemon: LabDaemon
  let guest: Guest
  /// Started before the first connection, so that it knows all of them.
  let keepalives: KeepaliveCounter

  /// The virtual machine's name.
  var name: String { guest.name }
  /// Asks the daemon.
  var api: DormouseClient { daemon.client }

  private let stateFileSystem: String?
  private let wired = Mutex<(client: LabClient, wire: Wire)?>(nil)

  /// - Parameter stateMegabytes: the size of a file system of its own for the daemon's state, in RAM; nil
  ///   for none.
  fileprivate init(_ name: String, stateMegabytes: Int?) async throws {
    TestFailureLog.reset()
    lab = try Lab.current()
    var stateFileSystem: String?
    if let stateMegabytes {
      let directory = try lab.makeDirectory("state")
      try await Command.run(
        "mount", "-t", "tmpfs", "-o", "mode=0755,size=\(stateMegabytes)M", "tmpfs", directory)
      stateFileSystem = directory
    }
    self.stateFileSystem = stateFileSystem
    network = try await lab.makeNetwork()
    client = try await network.addClient()
    try await client.setDefaultKeepalive(Keepalive())
    keepalives = try await KeepaliveCounter(on: client)
    daemon = try LabDaemon(
      on: network, in: lab, stateDirectory: stateFileSystem.map { $0 + "/state" })
    TestFailureLog.add(daemon.stateDirectory + "/sentry.log")
    guest = try await Guest(name, on: network, in: lab)
  }

  /// The scene of the suite that this test is in; see ``Testing/Trait/scene(_:memoryMegabytes:stateMegabytes:)``.
  static func current() throws -> Scene {
    guard let scene = shared else {
      throw TestBedError(code: .unprepared, message: "this test's suite has no scene")
    }
    return scene
  }

  @TaskLocal fileprivate static var shared: Scene?

  /// Creates and starts the guest's virtual machine, and waits until its services answer.
  func boot(memoryMegabytes: Int = 512, idleAfterSeconds: Double? = nil) async throws {
    try await daemon.create(
      guest, memoryMegabytes: memoryMegabytes, idleAfterSeconds: idleAfterSeconds)
    _ = try await api.start(name)
    try await guest.waitUntilUp(from: client)
  }

  /// Puts the VM to sleep as soon as its traffic is quiet.
  @discardableResult
  func sleep(within deadline: Duration = .seconds(20)) async throws -> VirtualMachine {
    try await sleepWhenQuiet(api, name, within: deadline)
  }

  /// Waits until the VM is in a state.
  @discardableResult
  func wait(for state: VirtualMachine.State, within deadline: Duration = .seconds(5)) async throws
    -> VirtualMachine
  {
    try await waitForState(api, name, state, within: deadline)
  }

  /// A second client, whose wire can lose frames; always the same. It stays until the end, since a peer that
  /// disappears with open connections keeps the VM from sleep.
  func wiredClient() async throws -> (client: LabClient, wire: Wire) {
    if let known = wired.withLock({ $0 }) { return known }
    let new = try await network.addWiredClient()
    wired.withLock { $0 = new }
    return new
  }

  /// The VM as the daemon sees it now.
  func machine() async throws -> VirtualMachine { try await api.show(name) }

  /// The number of the newest event so far.
  func eventMark() async throws -> Int { try await api.status().eventSequence }

  /// The events since a mark, oldest first.
  func events(after mark: Int) async throws -> [Event] {
    var events: [Event] = []
    for try await event in api.events(after: mark, follow: false) { events.append(event) }
    return events
  }

  /// Waits for an event since a mark.
  ///
  /// - Parameter code: what its `details` must have as `code`; nil for any.
  @discardableResult
  func event(
    _ kind: Event.Kind, code: String? = nil, after mark: Int, within deadline: Duration
  ) async throws -> Event {
    try await eventually("the event \(kind.rawValue) \(code ?? "")", within: deadline) {
      try await events(after: mark).first {
        $0.kind == kind && (code == nil || $0.details["code"] == code)
      }
    }
  }

  /// Makes sure that the VM runs and that its guest answers over both address families.
  func expectReachable(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let machine = try await wait(for: .awake, within: .seconds(10))
    #expect(machine.sleep == nil, sourceLocation: sourceLocation)
    for address in guest.addresses.both {
      let connection = try await EchoConnection(
        from: client, to: address, keepalive: nil, within: .seconds(10))
      try await connection.echo(Array("still here".utf8), within: .seconds(10))
    }
  }

  /// The taps that are in the host's namespace.
  func taps() async throws -> [String] {
    try await network.host.run("ip", "-brief", "link", "show", "type", "tun")
      .split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) }
  }

  /// The filters at the egress of the VM's tap: one per detour that is engaged.
  func detours() async throws -> Int {
    guard let tap = try await machine().networks.first?.tap else { return 0 }
    return try await network.host.run("tc", "filter", "show", "dev", tap, "egress")
      .split(separator: "\n").count { $0.contains("mirred") }
  }

  /// The host's memory, and what the VM's control group takes of it.
  func memory() async throws -> HostMemory {
    guard let pid = try await machine().pid else {
      throw TestBedError(code: .malformed, message: "\(name) has no QEMU")
    }
    return try HostMemory.current(groupOf: pid)
  }

  /// Takes everything away and makes sure that nothing has stayed behind.
  fileprivate func tearDown() async {
    await wired.withLock { $0 }?.wire.cut()
    await daemon.tearDown()
    keepalives.stop()
    let left = (try? await taps()) ?? []
    #expect(left.isEmpty, "taps stayed behind")
    network.remove()
    // The sentry keeps its log open for some seconds more.
    if let stateFileSystem { _ = try? await Command.run("umount", "--lazy", stateFileSystem) }
  }
}

/// Sets a scene up, runs a body in it, and takes it down, also after a failure, whose logs are shown.
///
/// - Parameters:
///   - memoryMegabytes: the guest's RAM; nil leaves it to the body to create and start the VM.
///   - arguments: for the daemon, on top of directories and control group.
///   - environment: for the daemon, such as failpoints.
///   - stateMegabytes: the size of a file system of its own for the daemon's state; nil for none.
func withScene(
  _ name: String, memoryMegabytes: Int? = 512, arguments: [String] = [],
  environment: [String: String] = [:], stateMegabytes: Int? = nil,
  _ body: (Scene) async throws -> Void
) async throws {
  let scene = try await Scene(name, stateMegabytes: stateMegabytes)
  do {
    try await scene.daemon.start(arguments: arguments, environment: environment)
    if let memoryMegabytes { try await scene.boot(memoryMegabytes: memoryMegabytes) }
    try await body(scene)
  } catch {
    TestFailureLog.show()
    await scene.tearDown()
    throw error
  }
  await scene.tearDown()
}

/// Gives all tests of a suite one scene, with one boot; the suite must be serialized.
struct SceneTrait: SuiteTrait, TestScoping {
  let name: String
  let memoryMegabytes: Int
  let stateMegabytes: Int?

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withScene(
      name, memoryMegabytes: memoryMegabytes, stateMegabytes: stateMegabytes
    ) { scene in
      try await Scene.$shared.withValue(scene) { try await function() }
    }
  }
}

extension Trait where Self == SceneTrait {
  /// One scene, with a guest of this name, for all tests of the suite: ``Scene/current()``.
  static func scene(
    _ name: String, memoryMegabytes: Int = 512, stateMegabytes: Int? = nil
  ) -> Self {
    SceneTrait(name: name, memoryMegabytes: memoryMegabytes, stateMegabytes: stateMegabytes)
  }
}

/// Asks for sleep until the VM's traffic is quiet enough and it sleeps.
///
/// - Throws: what the daemon answers when it is not about traffic; the last refusal at the deadline.
@discardableResult
func sleepWhenQuiet(
  _ client: DormouseClient, _ name: String, within deadline: Duration = .seconds(20)
) async throws -> VirtualMachine {
  let before = try await client.show(name).lastFailure
  let clock = ContinuousClock()
  let end = clock.now + deadline
  while true {
    do {
      return try await client.sleep(name)
    } catch let error as APIError where error.code == .refused && clock.now < end {
      // Being in use is no failure of the VM's; everything else is noted there.
      guard try await client.show(name).lastFailure == before else { throw error }
    }
    try await Task.sleep(for: .milliseconds(200))
  }
}

/// Waits until a VM is in a state.
@discardableResult
func waitForState(
  _ client: DormouseClient, _ name: String, _ state: VirtualMachine.State,
  within deadline: Duration
) async throws -> VirtualMachine {
  try await eventually("\(name) to be \(state.rawValue)", within: deadline) {
    let machine = try await client.show(name)
    return machine.state == state ? machine : nil
  }
}

/// Whether a process is stopped by a signal (proc_pid_stat(5): state T).
func isHalted(_ pid: Int32) throws -> Bool {
  let content = try #require(FileManager.default.contents(atPath: "/proc/\(pid)/stat"))
  let text = String(decoding: content, as: UTF8.self)
  return text.drop { $0 != ")" }.dropFirst(2).first == "T"
}
