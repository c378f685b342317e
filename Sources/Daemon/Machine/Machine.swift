import API
import FoundationEssentials
import Inventory
import LinuxMemory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Logging
import QEMU
import Seamless
import SuspendToSwap

/// What every VM needs of its host.
struct MachineContext: Sendable {
  let configuration: DaemonConfiguration
  let directory: StateDirectory
  let inventory: Inventory
  let events: EventLog
  let sentry: SentrySupervisor
  let swap: SwapReservations
  /// Who may read ahead from swap: one keeps a disk hardly busy, more than a few keep faults waiting.
  let prefetches: Turnstile
  let swapIns: SwapInPace
  /// Whose guest is told the time: each runs a program for it, which costs processors.
  let clockSteps: Turnstile
  let groups: ControlGroupHierarchy?
  let logger: Logger
}

/// One VM and its life: the only place that moves it from state to state.
///
/// Orders (start, sleep, stop …) run one after the other; what the sentry and the kernel report comes in
/// between, whenever it happens, and is dealt with at once.
actor Machine {
  let name: String
  let context: MachineContext
  let request: CreateRequest
  var record: VirtualMachineRecord
  var memo: MachineMemo
  var logger: Logger

  private(set) var state: MachineState = .stopped
  private(set) var stateSince = Date()
  var addresses: [String] = []
  var obstacles: [String] = []
  /// Since when neither processor time nor frames spoke of use.
  var idleSince = ContinuousClock.now
  /// An automatic sleep that failed is not tried again before this.
  var nextAutomaticSleep = ContinuousClock.now
  /// What its next wake will read ahead; while it sleeps.
  var wakePlan: WakePlan?
  /// The second stage of its present sleep, or of its last one.
  var deepening: Deepening?
  /// What is being read ahead and recorded since its last wake.
  var wakeWork: Task<Void, Never>?
  /// By the wake work under way.
  var prefetchedBytes: UInt64 = 0
  /// When a new sentry last took the sleeping VM over from one that had died.
  var resumedGuardAt: ContinuousClock.Instant?
  /// What is being done about a sentry that came back.
  var sentryWork = SerialWork()
  /// What wakes it; kept in its record.
  var rules: [TrafficRule] = []
  /// Changes of its rules.
  var ruleWork = SerialWork()
  /// An agent that did not answer is not asked for ports again before this.
  var nextPortQuestion = ContinuousClock.now
  /// The sentry's notices about the VM.
  nonisolated let inbox: AsyncStream<SentryNotice>.Continuation
  /// The QEMU that somebody has ordered to be ended by force: its death is no accident.
  var endOrdered: ProcessIdentity?
  /// There is no record of it any more.
  var deleted = false
  /// The daemon is about to end: nothing falls asleep any more.
  var leaving = false

  private var exclusive = false
  private var waiting: [CheckedContinuation<Void, Never>] = []
  private var stateWaiters: [CheckedContinuation<Void, Never>] = []

  /// - Throws: `DecodingError` when the record was not written by a daemon of this kind.
  init(record: VirtualMachineRecord, context: MachineContext) throws {
    name = record.name
    self.context = context
    self.record = record
    request = try APICoding.decoder().decode(CreateRequest.self, from: record.requestJSON)
    guard let json = record.runtimeJSON else {
      throw DaemonError(.stateDirectory, "the record of \(record.name) lacks its memo")
    }
    memo = try APICoding.decoder().decode(MachineMemo.self, from: json)
    logger = context.logger
    logger[metadataKey: "vm"] = "\(record.name)"
    rules = Self.rules(in: record.rulesJSON, logger)
    let (notices, inbox) = AsyncStream<SentryNotice>.makeStream()
    self.inbox = inbox
    // Ends with the VM, whose inbox is the only one.
    Task { [weak self] in
      for await notice in notices { await self?.take(notice) }
    }
  }

  // MARK: - Order

  /// Runs one order at a time.
  func inOrder<Value>(_ body: () async throws -> Value) async rethrows -> Value {
    while exclusive { await withCheckedContinuation { waiting.append($0) } }
    exclusive = true
    defer {
      exclusive = false
      if !waiting.isEmpty { waiting.removeFirst().resume() }
    }
    return try await body()
  }

  func enter(_ new: MachineState) {
    state = new
    stateSince = Date()
    idleSince = .now
    resumeStateWaiters()
  }

  /// Waits until the VM enters another state, or the task is cancelled.
  func stateChanges() async {
    guard !Task.isCancelled else { return }
    await withTaskCancellationHandler {
      await withCheckedContinuation { stateWaiters.append($0) }
    } onCancel: {
      Task { await self.resumeStateWaiters() }
    }
  }

  private func resumeStateWaiters() {
    let woken = stateWaiters
    stateWaiters.removeAll()
    for waiter in woken { waiter.resume() }
  }

  /// Notes what more the present sleep has brought.
  func amend(_ report: SleepReport) {
    guard case .asleep(let running, _) = state else { return }
    state = .asleep(running, report)
  }

  /// Waits until the VM has left a passing state.
  func settled() async {
    while true {
      switch state {
      case .starting, .fallingAsleep, .waking, .saving:
        await withCheckedContinuation { stateWaiters.append($0) }
      case .stopped, .awake, .asleep, .failed: return
      }
    }
  }

  func wrongState(_ wish: String) -> DaemonError {
    DaemonError(.wrongState, "\(name) is \(stateName.rawValue); it cannot be \(wish) now")
  }

  // MARK: - What others see

  var stateName: VirtualMachine.State {
    switch state {
    case .stopped: .stopped
    case .starting: .starting
    case .awake: .awake
    case .fallingAsleep: .fallingAsleep
    case .asleep: .asleep
    case .waking: .waking
    case .saving: .saving
    case .failed: .failed
    }
  }

  func view() -> VirtualMachine {
    let running = state.running
    var sleep: SleepReport?
    if case .asleep(_, let report) = state { sleep = report }
    let network = record.bridge.map { bridge in
      VirtualMachine.Network(
        bridge: bridge, macAddress: record.macAddress ?? "", tap: running?.runtime.tap,
        addresses: running == nil ? [] : addresses)
    }
    return VirtualMachine(
      name: name, state: stateName, stateSince: stateSince,
      pid: running?.runtime.process.pid, memoryBytes: request.memoryBytes, cpus: request.cpus,
      networks: network.map { [$0] } ?? [], machineType: description?.machineType,
      accelerator: running == nil ? nil : description?.accelerator.rawValue,
      idleAfterSeconds: record.idleAfterSeconds, swapIn: record.swapIn, sleep: sleep,
      lastWake: memo.lastWake,
      sleeps: memo.sleeps, wakes: memo.wakes, lastFailure: memo.lastFailure,
      obstacles: running == nil ? [] : obstacles, template: memo.template)
  }

  /// The frozen machine description; nil before the first boot.
  var description: MachineDescription? {
    record.descriptionJSON.flatMap {
      try? JSONDecoder().decode(MachineDescription.self, from: $0)
    }
  }

  // MARK: - Notes

  /// Journals a step before it is taken, and gives a test the chance to kill the daemon on either side.
  func step(_ step: SleepStep, payload: Data? = nil) async throws {
    context.configuration.failpoints.reach(step.failpoint + ".before")
    let name = name
    try await context.inventory.write { transaction in
      if step == .preparing {
        try transaction.begin(.sleep, of: name, step: step.rawValue)
      } else {
        try transaction.advance(name, to: step.rawValue, payload: payload)
      }
    }
    context.configuration.failpoints.reach(step.failpoint)
  }

  /// As ``step(_:payload:)`` for waking, which nothing may stop: a journal that cannot be written is a
  /// warning then.
  func step(_ step: WakeStep) async {
    let name = name
    do {
      try await context.inventory.write { transaction in
        switch step {
        case .ordered, .noticed: try transaction.begin(.wake, of: name, step: step.rawValue)
        case .finished: try transaction.finish(name)
        }
      }
    } catch {
      logger.warning("cannot journal \(step.failpoint)", metadata: ["error": "\(error)"])
    }
    context.configuration.failpoints.reach(step.failpoint)
  }

  /// Gives a test the chance to kill the daemon at this step.
  func reach(_ step: StartStep) {
    context.configuration.failpoints.reach(step.failpoint)
  }

  /// Ends whatever the journal says the VM is in the middle of.
  func closeJournal(_ outcome: String) async {
    let name = name
    do {
      try await context.inventory.write { try $0.finish(name, outcome: outcome) }
    } catch {
      logger.warning("cannot close the journal", metadata: ["error": "\(error)"])
    }
  }

  func tell(
    _ kind: Event.Kind, _ message: String, _ details: [String: String] = [:]
  ) async {
    await context.events.append(name, kind, message, details)
  }

  /// Writes the memo into the VM's record.
  func saveMemo() async throws {
    let name = name
    let json = try APICoding.encoder().encode(memo)
    try await context.inventory.write { transaction in
      _ = try transaction.update(name) { $0.runtimeJSON = json }
    }
  }

  /// As ``saveMemo()`` where a failure must not stop what is going on.
  func saveHistory() async {
    do {
      try await saveMemo()
    } catch {
      logger.warning("cannot save the VM's history", metadata: ["error": "\(error)"])
    }
  }

  func noteFailure(code: String, message: String) async {
    memo.lastFailure = VirtualMachine.Failure(
      code: APIError.Code(rawValue: code), message: message, at: Date())
    await saveHistory()
  }

  func set(_ settings: SettingsRequest) async throws {
    let name = name
    record = try await context.inventory.write { transaction in
      try transaction.update(name) { record in
        if let idle = settings.idle { record.idleAfterSeconds = idle.afterSeconds }
        if let swapIn = settings.swapIn { record.swapIn = swapIn }
      }
    }
    if settings.idle != nil { idleSince = .now }
  }
}
