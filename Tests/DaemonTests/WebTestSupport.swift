import API
import Client
import FoundationEssentials
import Logging
import ServiceLifecycle
import Web

/// A host in memory: what the web server offers in these tests.
actor MemoryHost: HostService {
  private var machines: [String: VirtualMachine] = [:]
  private var log: [Event] = []
  private var ruleLists: [String?: [TrafficRule]] = [:]
  private var followers: [Int: AsyncThrowingStream<Event, any Error>.Continuation] = [:]
  private var nextFollower = 0

  static let moment = Date(timeIntervalSince1970: 1_767_225_600)

  var followerCount: Int { followers.count }

  init(eventCount: Int = 0) {
    for number in 0..<eventCount {
      log.append(Self.event(number + 1, "event \(number + 1)", nil))
    }
  }

  func status() async throws -> HostStatus {
    HostStatus(
      version: "1.2.3", pid: 42, since: Self.moment, memoryTotalBytes: 16 << 30,
      memoryAvailableBytes: 12 << 30, swapTotalBytes: 0, swapFreeBytes: 0,
      virtualMachines: Dictionary(grouping: machines.values, by: \.state.rawValue)
        .mapValues(\.count),
      sentry: .init(state: .running, pid: 43), eventSequence: log.count)
  }

  func list() async throws -> [VirtualMachine] {
    machines.values.sorted { $0.name < $1.name }
  }

  func show(_ name: String) async throws -> VirtualMachine {
    guard let machine = machines[name] else {
      throw APIError(.notFound, "there is no virtual machine \"\(name)\"", advice: "see list")
    }
    return machine
  }

  func create(_ request: CreateRequest) async throws -> VirtualMachine {
    guard machines[request.name] == nil else {
      throw APIError(.conflict, "there is a virtual machine \"\(request.name)\" already")
    }
    let machine = VirtualMachine(
      name: request.name, state: .stopped, stateSince: Self.moment,
      memoryBytes: request.memoryBytes, cpus: request.cpus,
      networks: request.networks.map {
        .init(bridge: $0.bridge, macAddress: $0.macAddress ?? "52:54:00:00:00:01")
      },
      idleAfterSeconds: request.idleAfterSeconds, swapIn: request.swapIn ?? .lazy)
    machines[request.name] = machine
    emit("created", request.name)
    return machine
  }

  func delete(_ name: String) async throws {
    _ = try await show(name)
    machines[name] = nil
  }

  func start(_ name: String) async throws -> VirtualMachine {
    try await change(name) {
      $0.state = .awake
      $0.pid = 4711
    }
  }

  func stop(_ name: String, force: Bool) async throws -> VirtualMachine {
    try await change(name) {
      $0.state = .stopped
      $0.pid = nil
      $0.obstacles = force ? ["forced"] : []
    }
  }

  func sleep(_ name: String) async throws -> VirtualMachine {
    guard try await show(name).state == .awake else {
      throw APIError(
        .refused, "\(name) is not awake", intact: "it is as it was", advice: "start it")
    }
    return try await change(name) {
      $0.state = .asleep
      $0.sleeps += 1
      $0.sleep = SleepReport(
        since: Self.moment, releasedBytes: 300 << 20, residentBytes: 1 << 20, swapBytes: 300 << 20,
        netGainBytes: 300 << 20, touchedBytes: 301 << 20, durationSeconds: 1.25)
    }
  }

  func wake(_ name: String) async throws -> VirtualMachine {
    struct Unforeseen: Error {}
    if name == "cursed" { throw Unforeseen() }
    return try await change(name) {
      $0.state = .awake
      $0.sleep = nil
      $0.wakes += 1
    }
  }

  func save(_ name: String, to request: SaveRequest) async throws -> VirtualMachine {
    guard try await show(name).state == .awake else {
      throw APIError(.conflict, "\(name) is not awake")
    }
    emit("saved in \(request.directory)", name)
    return try await change(name) {
      $0.state = .stopped
      $0.pid = nil
    }
  }

  func set(_ name: String, _ settings: SettingsRequest) async throws -> VirtualMachine {
    try await change(name) {
      if let idle = settings.idle { $0.idleAfterSeconds = idle.afterSeconds }
      if let swapIn = settings.swapIn { $0.swapIn = swapIn }
    }
  }

  func rules(of name: String?) async throws -> RuleList {
    if let name { _ = try await show(name) }
    return RuleList(rules: ruleLists[name] ?? [])
  }

  func changeRules(of name: String?, _ change: RuleChange) async throws -> RuleList {
    ruleLists[name] = try change.applied(to: try await rules(of: name).rules)
    return try await rules(of: name)
  }

  func events(after sequence: Int?, follow: Bool) async throws
    -> AsyncThrowingStream<Event, any Error>
  {
    let past = log.filter { $0.sequence > sequence ?? 0 }
    let (stream, continuation) = AsyncThrowingStream<Event, any Error>.makeStream()
    for event in past { continuation.yield(event) }
    guard follow else {
      continuation.finish()
      return stream
    }
    nextFollower += 1
    let id = nextFollower
    followers[id] = continuation
    continuation.onTermination = { _ in Task { await self.remove(id) } }
    return stream
  }

  func doctor() async throws -> DoctorReport {
    DoctorReport(findings: [
      .init(
        check: "swap", status: .failure, message: "there is no swap", advice: "add a swap file"),
      .init(check: "qemu", status: .ok, message: "QEMU 10.0.2"),
    ])
  }

  func emit(_ message: String, _ name: String? = nil) {
    let event = Self.event(log.count + 1, message, name)
    log.append(event)
    for follower in followers.values { follower.yield(event) }
  }

  private static func event(_ sequence: Int, _ message: String, _ name: String?) -> Event {
    Event(
      sequence: sequence, at: moment, virtualMachine: name, kind: .warning, message: message)
  }

  private func remove(_ id: Int) {
    followers[id] = nil
  }

  private func change(_ name: String, _ body: (inout VirtualMachine) -> Void) async throws
    -> VirtualMachine
  {
    var machine = try await show(name)
    body(&machine)
    machines[name] = machine
    return machine
  }
}

/// A server that runs, for as long as the body does.
func withServer<Value>(
  _ host: any HostService, socketPath: String, group: UInt32? = nil,
  _ body: (RunningServer) async throws -> Value
) async throws -> Value {
  let (ready, announce) = AsyncStream<Void>.makeStream()
  let server = WebServer(
    service: host, socketPath: socketPath, group: group, heartbeat: .milliseconds(100),
    logger: .quiet, onReady: { announce.finish() })
  let services = ServiceGroup(
    configuration: .init(services: [server], logger: .quiet))
  let task = Task {
    defer { announce.finish() }
    try await services.run()
  }
  for await _ in ready {}
  let running = RunningServer(
    client: DormouseClient(socketPath: socketPath), services: services, task: task)
  do {
    let value = try await body(running)
    try await running.stop()
    return value
  } catch {
    task.cancel()
    _ = await task.result
    throw error
  }
}

struct RunningServer {
  let client: DormouseClient
  let services: ServiceGroup
  let task: Task<Void, any Error>

  /// Shuts the server down in an orderly way and waits for it. Once is enough; twice does no harm.
  func stop() async throws {
    await services.triggerGracefulShutdown()
    try await task.value
  }
}

extension Logger {
  /// One that says nothing below an error.
  static var quiet: Logger {
    var logger = Logger(label: "test")
    logger.logLevel = .error
    return logger
  }
}
