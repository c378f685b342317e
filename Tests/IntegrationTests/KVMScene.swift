import API
import Client
import FoundationEssentials
import TestBed
import Testing

/// An emulated host whose systemd runs dormoused, with swap on a partition, and one guest that has booted
/// there on KVM.
final class KVMScene: Sendable {
  let lab: Lab
  let network: LabNetwork
  let client: LabClient
  /// Started before the first connection, so that it knows all of them.
  let keepalives: KeepaliveCounter
  let host: EmulatedHost
  let guest: Guest
  /// Asks the daemon in the host.
  let api: DormouseClient

  /// Everything is slow in a machine within a machine, and slower on a busy one.
  static let patience = Duration.seconds(30)

  var name: String { guest.name }

  private init() async throws {
    TestFailureLog.reset()
    lab = try Lab.current()
    network = try await lab.makeNetwork()
    client = try await network.addClient()
    try await client.setDefaultKeepalive(Keepalive())
    keepalives = try await KeepaliveCounter(on: client)
    guest = try await Guest("nested", on: network, in: lab)
    var configuration = try EmulatedHost.Configuration(in: lab)
    configuration.drives = [
      try await .dormouse(guest: guest.image, in: lab),
      try await .swap(megabytes: 2048, in: lab),
      Drive(guest.image.disk, readOnly: true),
    ]
    host = try await EmulatedHost("kvm", on: network, in: lab, configuration: configuration)
    do {
      try await host.connect(within: .seconds(240))
      try await host.run("swapon /dev/vdc")
      api = DormouseClient(socketPath: try await host.installDormouse(from: "/dev/vdb"))
    } catch {
      TestFailureLog.show()
      throw error
    }
  }

  /// Creates and starts the guest's virtual machine, and waits until its services answer.
  private func boot() async throws {
    // Backing files are opened by the machine's own user.
    try await host.run(
      """
      chmod o+r /dev/vdd && mkdir -p /srv/guest &&
      qemu-img create -q -f qcow2 -F raw -b /dev/vdd /srv/guest/disk.qcow2
      """)
    _ = try await api.create(
      CreateRequest(
        name: name, memoryBytes: 512 << 20, cpus: 1, image: "/srv/guest/disk.qcow2",
        imageFormat: .qcow2, kernel: EmulatedHost.guestKernel, initrd: EmulatedHost.guestInitrd,
        kernelCommandLine: guest.kernelArguments,
        networks: [.init(bridge: network.bridge, macAddress: guest.addresses.macAddress)]))
    _ = try await api.start(name)
    try await guest.waitUntilUp(from: client, within: .seconds(240))
  }

  /// Puts the VM to sleep as soon as its traffic is quiet.
  func sleep() async throws -> VirtualMachine {
    try await sleepWhenQuiet(api, name, within: .seconds(60))
  }

  /// The VM as the daemon sees it now.
  func machine() async throws -> VirtualMachine { try await api.show(name) }

  /// What the memory control group of the VM is charged with, in bytes.
  func groupBytes() async throws -> UInt64 {
    let pid = try #require(try await machine().pid)
    let text = try await host.run(
      "cat /sys/fs/cgroup$(cut -d : -f 3 /proc/\(pid)/cgroup)/memory.current")
    return try #require(UInt64(text.firstLine))
  }

  private func tearDown() async {
    keepalives.stop()
    try? await host.stop()
    network.remove()
  }

  /// The scene of the suite that this test is in.
  static func current() throws -> KVMScene {
    guard let scene = shared else {
      throw TestBedError(code: .unprepared, message: "this test's suite has no emulated host")
    }
    return scene
  }

  @TaskLocal fileprivate static var shared: KVMScene?

  fileprivate static func with(_ body: () async throws -> Void) async throws {
    let scene = try await KVMScene()
    do {
      try await scene.boot()
      try await $shared.withValue(scene) { try await body() }
    } catch {
      TestFailureLog.show()
      await scene.tearDown()
      throw error
    }
    await scene.tearDown()
  }
}

/// Gives all tests of a suite one emulated host with one guest; the suite must be serialized.
struct KVMSceneTrait: SuiteTrait, TestScoping {
  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await KVMScene.with { try await function() }
  }
}

extension Trait where Self == KVMSceneTrait {
  /// One emulated host for all tests of the suite: ``KVMScene/current()``.
  static var kvmScene: Self { KVMSceneTrait() }
}

extension String {
  /// What comes before the first line feed.
  var firstLine: String { String(prefix { $0 != "\n" }) }
}
