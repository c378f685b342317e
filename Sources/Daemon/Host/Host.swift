public import API
import FoundationEssentials
import Frames
import Glibc
import Inventory
import LinuxMemory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
public import Logging
import QEMU
import Seamless
public import ServiceLifecycle

/// The daemon: all VMs of one state directory, their sentry, and what the HTTP API offers of them.
public actor Host: HostService, Service {
  let context: MachineContext
  let supervisor: SentrySupervisor
  let logger: Logger
  let since = Date()
  /// What wakes VMs whose own rules say nothing.
  var hostRules: [TrafficRule] = []
  /// Changes of them.
  var hostRuleWork = SerialWork()
  /// Held for as long as the daemon lives.
  private let lock: OwnedFileDescriptor
  private var machines: [String: Machine] = [:]
  private var watchers: [String: Task<Void, Never>] = [:]
  private var sentryState = HostStatus.Sentry.State.starting
  /// Runs while there is no sentry.
  private var sentryAbsence: Task<Void, Never>?
  /// How long VMs sleep on without a sentry. A new one is there in a tenth of a second; clients with eager
  /// keepalives give up after some seconds.
  private static let sentryAbsenceLimit = Duration.seconds(2)
  /// How long VMs that are falling asleep get to be undone when the daemon ends.
  private static let leavingTime = Duration.seconds(1)
  private var recovered = false
  private var ending = false
  private var recoveryWaiters: [CheckedContinuation<Void, Never>] = []

  /// Claims the state directory and reads the inventory. VMs are looked after once ``run()`` is called.
  public init(configuration: DaemonConfiguration, logger: Logger) async throws {
    let directory = StateDirectory(path: configuration.stateDirectory)
    lock = try directory.claim()
    self.logger = logger
    if let summary = configuration.failpoints.summary {
      logger.warning("TEST MODE: this daemon kills or halts itself at: \(summary)")
    }
    do {
      try DescriptorLimit.raise()
    } catch {
      logger.warning("the limit of open files stays as it is", metadata: ["error": "\(error)"])
    }
    let inventory = try await Inventory.open(path: directory.inventory)
    let groups: ControlGroupHierarchy?
    do {
      groups = try MemoryControlGroup.detect()
    } catch {
      groups = nil
      logger.warning(
        "no memory control groups: swap files and partitions give memory back only under pressure",
        metadata: ["error": "\(error)"])
    }
    let supervisor = SentrySupervisor(
      configuration: configuration, directory: directory, user: UserIDs.sentry, logger: logger)
    self.supervisor = supervisor
    context = MachineContext(
      configuration: configuration, directory: directory, inventory: inventory,
      events: try await EventLog(inventory: inventory, logger: logger), sentry: supervisor,
      swap: SwapReservations(), prefetches: Turnstile(places: 4),
      swapIns: SwapInPace(bytesPerSecond: configuration.swapInBytesPerSecond),
      clockSteps: Turnstile(places: max(4, 2 * ProcessInfo.processInfo.activeProcessorCount)),
      groups: groups, logger: logger)
    hostRules = try await Self.rules(configuration, inventory, logger)
    for record in try await inventory.read({ try $0.records() }) {
      machines[record.name] = try Machine(record: record, context: context)
    }
  }

  /// Looks after the VMs until the task is cancelled. Leaves them, and the sentry, as they are then.
  public func run() async throws {
    let (reports, sink) = AsyncStream<SentrySupervisor.Report>.makeStream()
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.supervisor.run { sink.yield($0) } }
      group.addTask {
        for await report in reports { await self.take(report) }
      }
      group.addTask { await self.sendHeartbeatsToServiceManager() }
      try? await gracefulShutdown()
      ServiceNotification().send("STOPPING=1")
      await leaveMachines()
      group.cancelAll()
      sink.finish()
      // A recovery that was cut short never ends: nobody shall wait for it.
      ending = true
      resumeRecoveryWaiters()
    }
    for watcher in watchers.values { watcher.cancel() }
  }

  /// What is falling asleep is woken while the sentry is still in reach: otherwise frames that it holds would
  /// wait until it misses the daemon.
  private func leaveMachines() async {
    for machine in machines.values { await machine.leave() }
    let deadline = ContinuousClock.now + Self.leavingTime
    while ContinuousClock.now < deadline {
      var busy = false
      for machine in machines.values where await machine.stateName == .fallingAsleep { busy = true }
      if !busy { return }
      try? await Task.sleep(for: .milliseconds(10))
    }
  }

  private func sendHeartbeatsToServiceManager() async {
    let notification = ServiceNotification()
    guard await untilRecovered() else { return }
    notification.send("READY=1")
    guard let interval = notification.watchdogInterval else { return }
    while !Task.isCancelled {
      notification.send("WATCHDOG=1")
      try? await Task.sleep(for: interval)
    }
  }

  // MARK: - Sentry

  private func take(_ report: SentrySupervisor.Report) async {
    switch report {
    case .up(let statuses, let restarted):
      await sentryCame(statuses, restarted: restarted)
    case .down(let why):
      sentryState = .lost
      await context.events.append(nil, .sentryLost, "the sentry is gone: \(why)")
      // Without a sentry nothing sleeps, but everything else goes on.
      if !recovered { await recover([:]) }
      if sentryAbsence == nil { sentryAbsence = Task { await self.endureSentryAbsence() } }
    case .notice(let notice): machines[notice.machine]?.hear(notice)
    }
  }

  /// In doubt, awake: nobody answers for the VMs that sleep.
  private func endureSentryAbsence() async {
    do {
      try await Task.sleep(for: Self.sentryAbsenceLimit)
    } catch {
      return
    }
    for machine in machines.values { Task { await machine.sentryStaysAway() } }
  }

  private func sentryCame(_ statuses: [GuardStatus], restarted: Bool) async {
    sentryState = .running
    sentryAbsence?.cancel()
    sentryAbsence = nil
    // Before any VM is given to it.
    await sendHostRules()
    let phases = Dictionary(
      statuses.map { ($0.name, $0.phase) }, uniquingKeysWith: { first, _ in first })
    for name in phases.keys where machines[name] == nil {
      _ = try? await supervisor.request(.forget(name: name))
    }
    guard recovered else { return await recover(phases) }
    await context.events.append(
      nil, .sentryRestarted,
      restarted ? "a new sentry has been started" : "the sentry is in reach again")
    for machine in machines.values {
      await machine.sentryReturned(phase: phases[machine.name])
    }
  }

  /// Finds out how the VMs are that an earlier daemon has left.
  private func recover(_ phases: [String: GuardPhase]) async {
    await withTaskGroup(of: Void.self) { group in
      for machine in machines.values {
        group.addTask { await machine.recover(phase: phases[machine.name]) }
      }
    }
    recovered = true
    for machine in machines.values { watch(machine) }
    resumeRecoveryWaiters()
  }

  private func resumeRecoveryWaiters() {
    for waiter in recoveryWaiters { waiter.resume() }
    recoveryWaiters.removeAll()
  }

  private func watch(_ machine: Machine) {
    watchers[machine.name] = Task { await machine.watchIdleness() }
  }

  /// Orders wait until the daemon knows how its VMs are. False when it ends before that.
  private func untilRecovered() async -> Bool {
    if !recovered, !ending { await withCheckedContinuation { recoveryWaiters.append($0) } }
    return recovered
  }

  /// Questions wait too, so that nobody is told of a VM as it was described and not as it is; but not for
  /// long, since a QEMU that does not answer keeps the daemon looking.
  private func recoveredSoon() async {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(2)
    while !recovered, !ending, clock.now < end {
      guard (try? await clock.sleep(for: .milliseconds(10))) != nil else { return }
    }
  }

  private func requireRecovered() async throws {
    guard await untilRecovered() else {
      throw APIError(.unavailable, "the daemon is stopping", intact: "all virtual machines go on")
    }
  }

  // MARK: - HostService

  public func status() async throws -> HostStatus {
    await recoveredSoon()
    let memory = try MemoryInformation.current()
    var counts: [String: Int] = [:]
    for machine in machines.values { counts[await machine.stateName.rawValue, default: 0] += 1 }
    return HostStatus(
      pid: getpid(), since: since, memoryTotalBytes: memory.totalBytes,
      memoryAvailableBytes: memory.availableBytes, swapTotalBytes: memory.swapTotalBytes,
      swapFreeBytes: memory.swapFreeBytes, virtualMachines: counts,
      sentry: HostStatus.Sentry(state: sentryState, pid: await supervisor.processID),
      eventSequence: await context.events.lastSequence)
  }

  public func list() async throws -> [VirtualMachine] {
    await recoveredSoon()
    var result: [VirtualMachine] = []
    for name in machines.keys.sorted() {
      if let machine = machines[name] { result.append(await machine.view()) }
    }
    return result
  }

  public func show(_ name: String) async throws -> VirtualMachine {
    await recoveredSoon()
    return try await machine(name).view()
  }

  public func create(_ request: CreateRequest) async throws -> VirtualMachine {
    try await requireRecovered()
    var request = try request.validated()
    if request.template == nil, !request.networks.isEmpty, request.networks[0].macAddress == nil {
      request.networks[0].macAddress = "\(MACAddress.randomLocallyAdministered())"
    }
    let (wanted, description) = try await settle(request)
    let record = VirtualMachineRecord(
      name: wanted.name, uid: UserIDs.freshIdentifier(),
      descriptionJSON: try description.map { try JSONEncoder().encode($0) },
      requestJSON: try APICoding.encoder().encode(wanted), bridge: wanted.networks.first?.bridge,
      macAddress: wanted.networks.first?.macAddress, idleAfterSeconds: wanted.idleAfterSeconds,
      swapIn: wanted.swapIn ?? .lazy, createdAt: Date(),
      runtimeJSON: try APICoding.encoder().encode(
        MachineMemo(userID: UserIDs.random(), template: wanted.template)))
    guard machines[wanted.name] == nil else {
      throw APIError(.conflict, "there is a virtual machine named \(wanted.name) already")
    }
    let machine = try Machine(record: record, context: context)
    machines[wanted.name] = machine
    do {
      try await machine.create()
    } catch {
      machines[wanted.name] = nil
      throw Self.apiError(error)
    }
    watch(machine)
    await context.events.append(wanted.name, .created, "\(wanted.name) was created")
    return await machine.view()
  }

  public func save(_ name: String, to request: SaveRequest) async throws -> VirtualMachine {
    let request = try request.validated()
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.save(to: request.directory) }
    return await machine.view()
  }

  public func delete(_ name: String) async throws {
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.delete() }
    guard machines[name] === machine else { return }
    watchers.removeValue(forKey: name)?.cancel()
    machines[name] = nil
    await context.events.append(name, .deleted, "\(name) was deleted; its disk was left alone")
  }

  public func start(_ name: String) async throws -> VirtualMachine {
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.start() }
    return await machine.view()
  }

  public func stop(_ name: String, force: Bool) async throws -> VirtualMachine {
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.stop(force: force) }
    return await machine.view()
  }

  public func sleep(_ name: String) async throws -> VirtualMachine {
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.sleep() }
    return await machine.view()
  }

  public func wake(_ name: String) async throws -> VirtualMachine {
    let machine = try await settledMachine(name)
    try await Self.translating { try await machine.wake() }
    return await machine.view()
  }

  public func set(_ name: String, _ settings: SettingsRequest) async throws -> VirtualMachine {
    let settings = try settings.validated()
    let machine = try machine(name)
    try await Self.translating { try await machine.set(settings) }
    return await machine.view()
  }

  public func events(after sequence: Int?, follow: Bool) async throws -> AsyncThrowingStream<
    Event, any Error
  > {
    try await context.events.stream(after: sequence, follow: follow)
  }

  public func doctor() async throws -> DoctorReport {
    await Doctor(configuration: context.configuration, groups: context.groups).examine(
      sentryIsUp: sentryState == .running)
  }

  func machine(_ name: String) throws -> Machine {
    guard let machine = machines[name] else {
      throw APIError(
        .notFound, "there is no virtual machine named \(name)",
        advice: "dormouse list shows those that there are")
    }
    return machine
  }

  private func settledMachine(_ name: String) async throws -> Machine {
    try await requireRecovered()
    return try machine(name)
  }

  private static func translating(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch {
      throw apiError(error)
    }
  }
}
