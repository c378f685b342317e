public import API
public import Client
import FoundationEssentials

/// A `dormoused` of the lab, with a state directory and a socket of its own, in the host's namespace of
/// a network. It can be killed and started again; its state and its virtual machines stay.
public actor LabDaemon {
  /// What the daemon keeps.
  public nonisolated let stateDirectory: String
  public nonisolated let socket: String
  public nonisolated let log: String
  /// Asks the daemon.
  public nonisolated let client: DormouseClient
  private nonisolated let lab: Lab
  private nonisolated let network: LabNetwork
  private var process: LabProcess?

  /// Prepares the directories; nothing is started.
  ///
  /// - Parameter stateDirectory: nil for a new one; another daemon's to share it.
  public init(on network: LabNetwork, in lab: Lab, stateDirectory: String? = nil) throws {
    let directory = try lab.makeDirectory("daemon")
    self.lab = lab
    self.network = network
    self.stateDirectory = stateDirectory ?? directory + "/state"
    socket = directory + "/socket"
    log = directory + "/log"
    client = DormouseClient(socketPath: socket)
  }

  /// What the daemon keeps of a machine's wakes, to read ahead at the next.
  public nonisolated func wakeRecord(of name: String) -> String {
    stateDirectory + "/machines/\(name)/wake-record"
  }

  /// The daemon's process number.
  public var pid: Int32? { process?.pid }

  /// Starts the daemon and waits until it answers.
  ///
  /// - Parameters:
  ///   - arguments: on top of directory and socket.
  ///   - environment: on top of the lab's, such as failpoints.
  ///   - deadline: for its first answer.
  public func start(
    arguments: [String] = [], environment: [String: String] = [:],
    within deadline: Duration = .seconds(10)
  ) async throws {
    let process = try await launch(arguments: arguments, environment: environment)
    try await eventually("dormoused to answer", within: deadline, every: .milliseconds(20)) {
      if (try? await client.status()) != nil { return true }
      guard try await process.isRunning() else {
        throw TestBedError(code: .command, message: "dormoused ended; see \(log)")
      }
      return nil
    }
  }

  /// Starts the daemon without waiting for anything: for one that is expected to fail, or to die.
  @discardableResult
  public func launch(
    arguments: [String] = [], environment: [String: String] = [:]
  ) async throws -> LabProcess {
    let started = try await LabProcess(
      [
        try lab.program("dormoused"), "--state-dir", stateDirectory, "--socket", socket,
        "--control-group", lab.controlGroup,
      ] + arguments,
      in: network.host, log: log, environment: environment)
    process = started
    return started
  }

  /// kill -9.
  public func kill() async throws {
    try await process?.kill()
    process = nil
  }

  /// Asks it to end, as systemd would, and waits.
  public func stop(within deadline: Duration = .seconds(10)) async throws {
    try await process?.terminate(within: deadline)
    process = nil
  }

  /// Waits for its end: by a failpoint, say.
  public func waitForExit(within deadline: Duration) async throws {
    try await process?.waitForExit(within: deadline)
    process = nil
  }

  /// Runs `dormouse` with this daemon's socket and returns what it printed.
  @discardableResult
  public nonisolated func dormouse(_ words: String..., deadline: Duration = .seconds(120))
    async throws -> String
  {
    try await dormouse(words, deadline: deadline)
  }

  /// As above, for a command made elsewhere.
  @discardableResult
  public nonisolated func dormouse(_ words: [String], deadline: Duration = .seconds(120))
    async throws -> String
  {
    guard let subcommand = words.first else {
      throw TestBedError(code: .malformed, message: "dormouse needs a subcommand")
    }
    return try await Command.run(
      network.host.entering + [try lab.program("dormouse"), subcommand, "--socket", socket]
        + words.dropFirst(),
      deadline: deadline)
  }

  /// Describes a virtual machine for a guest; it is not started.
  @discardableResult
  public nonisolated func create(
    _ guest: Guest, memoryMegabytes: Int = 512, idleAfterSeconds: Double? = nil
  ) async throws -> VirtualMachine {
    try await client.create(
      CreateRequest(
        name: guest.name, memoryBytes: UInt64(memoryMegabytes) << 20, cpus: 1,
        image: guest.disk.path, imageFormat: .qcow2, kernel: guest.image.kernel,
        initrd: guest.image.initrd, kernelCommandLine: guest.kernelArguments,
        networks: [.init(bridge: network.bridge, macAddress: guest.addresses.macAddress)],
        idleAfterSeconds: idleAfterSeconds))
  }

  /// Describes a virtual machine that continues from a template; it is not started.
  @discardableResult
  public nonisolated func create(
    _ guest: Guest, from template: String, on island: LabIsland
  ) async throws -> VirtualMachine {
    try await client.create(
      CreateRequest(
        name: guest.name, memoryBytes: 0, cpus: 0, image: guest.disk.path, imageFormat: .qcow2,
        networks: [.init(bridge: island.bridge)], template: template))
  }

  /// Waits until a virtual machine is in a state.
  @discardableResult
  public nonisolated func waitFor(
    _ state: VirtualMachine.State, of name: String, within deadline: Duration
  ) async throws -> VirtualMachine {
    try await eventually("\(name) to be \(state.rawValue)", within: deadline) {
      let machine = try await client.show(name)
      return machine.state == state ? machine : nil
    }
  }

  /// Ends all virtual machines at once and then the daemon, as far as they are there.
  public func tearDown() async {
    // The lab's end takes care of what cannot be ended here.
    for machine in (try? await client.list()) ?? [] where machine.state != .stopped {
      _ = try? await client.stop(machine.name, force: true)
    }
    try? await stop()
    try? await kill()
  }
}
