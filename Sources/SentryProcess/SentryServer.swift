import Failpoints
import FoundationEssentials
import Frames
import Glibc
import LinuxNetwork
import LinuxSystem
import QMP
import Seamless

/// The sentry: one thread, one loop. It answers for the VMs that sleep, wakes them, and takes their
/// detours down, with or without the daemon.
final class SentryServer {
  /// Frames taken from one VM before the others get their turn.
  static let burst = 64
  /// Messages taken from the daemon before the VMs get their turn.
  static let messageBurst = 32
  /// VMs whose detours are looked at in one turn, after notices of the kernel were lost.
  static let inspectionBurst = 32
  /// Complaints of one second that go to the log.
  static let reportsPerSecond = 20
  /// How long QEMU gets to continue a VM before it is asked again, in nanoseconds.
  static let continueRetry: UInt64 = 2_000_000_000
  /// A sentry with no machine and no daemon has nothing to do after this, in nanoseconds.
  static let idleLimit: UInt64 = 15_000_000_000
  private var isRetiring = false

  private var poll: EventPoll
  private var learning: LearningPoll
  private let netlink: RouteNetlink
  private var changes: TrafficControlMonitor
  private let listener: OwnedFileDescriptor
  private let failpoints: Failpoints
  private var daemon: DaemonLink?
  private var hostRules: [Rule] = []
  private var waitsForRoom = false
  /// Gives frames to guests past their detours: one for all, which every daemon brings along anew.
  private var injector: PacketSocket?
  private let room = HoldRoom()
  private var wards: [String: Ward] = [:]
  /// Keys of epoll: the ward's number and the kind of its descriptor.
  private var wardsByNumber: [UInt64: Ward] = [:]
  private var numbers: [String: UInt64] = [:]
  private var wardsByTap: [CInt: Ward] = [:]
  /// More would leave no descriptor for what else there is to open.
  private let wardLimit: Int
  /// The VMs that the clock has something to do for: those with frames since its last tick, those that the
  /// sentry looks away from, and those that wake. The others, thousands perhaps, sleep. By their numbers:
  /// a VM that has gone must take its descriptors along.
  private var watchList: [UInt64] = []
  /// The VMs whose detours are still to be looked at.
  private var inspections: [UInt64] = []
  private var daemonWasLost = false
  /// What was known of guests that were dismissed, 4 KiB each: a daemon that starts anew entrusts the same
  /// ones again, and they need not be learned from scratch.
  private var acquaintances: [String: (macAddress: String, header: [UInt8])] = [:]
  private static let acquaintanceLimit = 4096
  private var nextNumber: UInt64 = 1
  private var lastContact: UInt64
  private var lastTick: UInt64
  private var buffer = [UInt8](repeating: 0, count: 65_536)
  /// A second one: what is given to a guest may lie in the first while learning reads.
  private var learningBuffer = [UInt8](repeating: 0, count: 65_536)
  private var replies = FrameBuffer()
  private var reportsThisSecond = 0
  private var suppressedReports = 0
  private var reportSecond: UInt64 = 0

  private enum Kind: UInt64 {
    case listener, daemon, changes, detour, learners, learner, monitor
  }

  init(listener: consuming OwnedFileDescriptor, failpoints: Failpoints) throws {
    self.listener = listener
    self.failpoints = failpoints
    poll = try EventPoll()
    learning = try LearningPoll()
    netlink = try RouteNetlink()
    changes = try TrafficControlMonitor()
    wardLimit = (try DescriptorLimit.raise() - 64) / Ward.descriptors
    lastContact = MonotonicClock.nowNanoseconds()
    lastTick = lastContact
    try poll.add(self.listener.rawValue, key: Kind.listener.rawValue)
    try poll.add(changes.descriptor, key: Kind.changes.rawValue)
    try learning.resume(in: poll, key: Kind.learners.rawValue)
  }

  /// Runs until there is nothing left to guard and nobody to guard it for.
  func run() throws {
    while true {
      for key in try poll.wait(milliseconds: patience) { dispatch(key) }
      inspect()
      settleDaemon()
      let now = MonotonicClock.nowNanoseconds()
      if learning.hasRested(at: now) { try learning.resume(in: poll, key: Kind.learners.rawValue) }
      if now - lastTick >= 500_000_000 {
        lastTick = now
        tick(now)
        if wards.isEmpty, daemon == nil, now - lastContact > Self.idleLimit { return }
        if isRetiring, wards.values.allSatisfy({ $0.publicPhase == .learning }) { return }
      }
    }
  }

  /// How long the loop may wait for events, in milliseconds.
  private var patience: CInt {
    if !inspections.isEmpty { return 0 }
    return learning.isResting ? LearningPoll.restMilliseconds : 500
  }

  private func dispatch(_ key: UInt64) {
    guard let kind = Kind(rawValue: key & 0xff) else { return }
    switch kind {
    case .listener: acceptDaemon()
    case .daemon: readDaemon()
    case .changes: readChanges()
    case .learners:
      for key in learning.ready(in: poll, at: MonotonicClock.nowNanoseconds()) { dispatch(key) }
    case .detour, .learner, .monitor:
      // A ward may have gone by an earlier event of the same round.
      guard let ward = wardsByNumber[key >> 8] else { return }
      switch kind {
      case .detour: readDetour(ward)
      case .learner: readLearner(ward)
      case .monitor: readMonitor(ward)
      case .listener, .daemon, .changes, .learners: break
      }
    }
  }

  // MARK: - Time

  private func tick(_ now: UInt64) {
    let absence = UInt64(SentryProtocol.daemonAbsenceLimitSeconds) * 1_000_000_000
    let daemonIsLost = now - lastContact > absence
    if daemonIsLost, daemon != nil { dropDaemon() }
    if daemonIsLost, !daemonWasLost {
      for ward in wards.values where ward.publicPhase != .learning {
        wake(ward, cause: .daemonLost, flow: nil, firstSeen: now)
      }
    }
    daemonWasLost = daemonIsLost
    let watched = watchList
    watchList.removeAll(keepingCapacity: true)
    for number in watched {
      guard let ward = wardsByNumber[number] else { continue }
      ward.isOnWatchList = false
      switch ward.phase {
      case .learning: tickLearning(ward, now)
      case .holding, .answering: ward.framesThisTick = 0
      case .waking(let waking):
        if now >= waking.retryAt { retryWaking(ward, waking, now) }
        putOnWatchList(ward)
      }
    }
  }

  private func putOnWatchList(_ ward: Ward) {
    guard !ward.isOnWatchList, let number = numbers[ward.machine.name] else { return }
    ward.isOnWatchList = true
    watchList.append(number)
  }

  private func tickLearning(_ ward: Ward, _ now: UInt64) {
    if let until = ward.lookingAwayUntil {
      guard now >= until else { return putOnWatchList(ward) }
      ward.lookingAwayUntil = nil
      // What passed meanwhile is unknown, and what is known may be stale.
      ward.drain(discard: true, buffer: &buffer)
      ward.listen()
      ward.learner.invalidate(at: now)
      try? learning.sockets.add(ward.tapWatch.descriptor, key: key(ward, .learner))
    } else {
      ward.noticeLosses(at: now)
    }
    if ward.framesThisTick * 2 > Ward.busyFramesPerSecond {
      ward.lookingAwayUntil = now + Ward.lookAway
      learning.sockets.remove(ward.tapWatch.descriptor)
      ward.deafen()
      putOnWatchList(ward)
    }
    ward.framesThisTick = 0
  }

  /// A daemon of another release is there, which will start a sentry of its own: until then nobody may
  /// sleep, and afterwards this one is in the way.
  private func retire() {
    isRetiring = true
    let now = MonotonicClock.nowNanoseconds()
    for ward in wards.values where ward.publicPhase != .learning {
      wake(ward, cause: .sentryReplaced, flow: nil, firstSeen: now)
    }
  }

  // MARK: - Frames

  /// Returns how many frames there were, at most the limit.
  @discardableResult
  private func readDetour(_ ward: Ward, limit: Int = SentryServer.burst) -> Int {
    for count in 0..<limit {
      let length = read(ward.detourTap.rawValue, &buffer, buffer.count)
      guard length > 0 else { return count }
      let now = MonotonicClock.nowNanoseconds()
      buffer.withUnsafeBytes { bytes in
        take(UnsafeRawBufferPointer(rebasing: bytes[0..<length]), for: ward, at: now)
      }
    }
    return limit
  }

  private func take(_ frame: UnsafeRawBufferPointer, for ward: Ward, at now: UInt64) {
    switch ward.phase {
    case .learning:
      // The detour is gone already: a frame that was still on its way through it.
      inject(frame, to: ward)
    case .holding(let hold, _): hold.append(frame)
    case .waking(let waking): waking.hold.append(frame)
    case .answering(let hold):
      switch ward.judge(frame, at: now, replies: &replies) {
      case .answer, .ignore: return
      case .hold(.deferred, _): hold.deferred.append(frame, at: now)
      case .hold: hold.append(frame)
      case .wake(let reason, let flow):
        hold.append(frame)
        wake(
          ward, cause: WakeCause(rawValue: reason.rawValue), flow: flow?.description,
          firstSeen: now)
      }
    }
  }

  /// Gives the guest a frame past the detour. A full queue loses it, as on any network.
  private func inject(_ frame: UnsafeRawBufferPointer, to ward: Ward) {
    // What the frame may be the answer to, learning may not have read yet: an acknowledgement that is seen before
    // the segment would leave that unacknowledged for good.
    ward.learn(limit: Self.burst, discard: false, buffer: &learningBuffer)
    ward.learner.observe(frame, direction: .toGuest, at: MonotonicClock.nowNanoseconds())
    // No machine comes before the daemon's greeting, and with it the socket.
    try? injector?.send(frame, onInterface: ward.machine.tapIndex)
  }

  private func readLearner(_ ward: Ward) {
    putOnWatchList(ward)
    switch ward.phase {
    case .learning, .holding:
      ward.learn(limit: Self.burst, discard: false, buffer: &buffer)
    case .waking:
      // From `cont` on the frames are the guest's again; what was there before has been discarded.
      ward.learn(limit: Self.burst, discard: false, buffer: &buffer)
    case .answering:
      ward.learn(limit: Self.burst, discard: true, buffer: &buffer)
    }
  }

  private func readChanges() {
    do {
      while let notice = try changes.next() {
        switch notice {
        case .filterDeleted(let changed), .qdiscDeleted(let changed), .linkDeleted(let changed):
          if let ward = wardsByTap[changed] { inspectDetour(of: ward) }
        case .overrun: inspections = Array(wardsByNumber.keys)
        default: continue
        }
      }
    } catch {
      report("cannot read the kernel's notices: \(error)")
    }
  }

  /// Looks at some of the detours that are to be looked at; the others have their turn later.
  private func inspect() {
    for _ in 0..<min(inspections.count, Self.inspectionBurst) {
      guard let number = inspections.popLast(), let ward = wardsByNumber[number] else { continue }
      inspectDetour(of: ward)
    }
  }

  private func inspectDetour(of ward: Ward) {
    guard case .answering = ward.phase,
      (try? Detour.isEngaged(machineTap: ward.machine.tapIndex, netlink)) != true
    else { return }
    wake(ward, cause: .detourRemoved, flow: nil, firstSeen: MonotonicClock.nowNanoseconds())
  }

  // MARK: - Waking

  private func wake(
    _ ward: Ward, cause: WakeCause, flow: String?, firstSeen: UInt64, order: UInt64? = nil
  ) {
    let hold: HoldQueue
    switch ward.phase {
    case .waking(var waking):
      if let order { waking.orders.append(order) }
      ward.phase = .waking(waking)
      return
    case .holding(let held, _), .answering(let held): hold = held
    case .learning: hold = HoldQueue(in: room)
    }
    failpoints.reach(SentryStep.deciding.failpoint)
    // From `cont` on what passes the tap is the guest's again.
    if case .answering = ward.phase { ward.listen() }
    var waking = Ward.Waking(
      hold: hold, cause: cause, flow: flow, firstSeen: firstSeen, continueSent: 0, continueID: 0,
      retryAt: 0, orders: order.map { [$0] } ?? [])
    // First, so that the daemon reads ahead while QEMU has hardly begun; nobody waits for it.
    daemon?.notice(.waking(name: ward.machine.name, cause: cause, flow: flow))
    sendContinue(ward, &waking)
    ward.phase = .waking(waking)
    putOnWatchList(ward)
    failpoints.reach(SentryStep.continueSent.failpoint)
  }

  private func sendContinue(_ ward: Ward, _ waking: inout Ward.Waking) {
    do {
      waking.continueID = try ward.monitor.send("cont")
    } catch {
      report("cannot send cont to \(ward.machine.name): \(error)")
    }
    let now = MonotonicClock.nowNanoseconds()
    if waking.continueSent == 0 { waking.continueSent = now }
    waking.retryAt = now + Self.continueRetry
  }

  private func retryWaking(_ ward: Ward, _ waking: Ward.Waking, _ now: UInt64) {
    var waking = waking
    let message = "no answer to cont for \((now - waking.continueSent) / 1_000_000) ms"
    if !waking.silenceReported {
      waking.silenceReported = true
      daemon?.notice(.monitorSilent(name: ward.machine.name, message: message))
      for order in waking.orders {
        daemon?.reply(order, .refused(code: .monitor, message: message))
      }
      waking.orders = []
    }
    sendContinue(ward, &waking)
    ward.phase = .waking(waking)
  }

  /// QEMU runs the guest again: everything that was held goes to it, then the detour is taken down.
  private func finishWaking(_ ward: Ward, _ waking: Ward.Waking) {
    let continued = MonotonicClock.nowNanoseconds()
    failpoints.reach(SentryStep.continued.failpoint)
    let replayed = replay(waking.hold, to: ward)
    failpoints.reach(SentryStep.replayed.failpoint)
    letThrough(ward)
    failpoints.reach(SentryStep.released.failpoint)
    let outcome = WakeOutcome(
      cause: waking.cause, flow: waking.flow,
      firstFrameToContinueSeconds: Self.seconds(waking.firstSeen, waking.continueSent),
      continueSeconds: Self.seconds(waking.continueSent, continued),
      totalSeconds: Self.seconds(waking.firstSeen, MonotonicClock.nowNanoseconds()),
      heldFrames: replayed, droppedFrames: waking.hold.dropped,
      answeredFrames: ward.answered)
    ward.answered = 0
    daemon?.notice(.awake(name: ward.machine.name, outcome))
    for order in waking.orders { daemon?.reply(order, .awake(outcome)) }
  }

  /// Returns how many frames there were.
  @discardableResult
  private func replay(_ hold: HoldQueue, to ward: Ward) -> Int {
    let frames = hold.deferred.current(at: MonotonicClock.nowNanoseconds()) + hold.frames
    for frame in frames { frame.withUnsafeBytes { inject($0, to: ward) } }
    return frames.count
  }

  /// From here on the guest's frames go to the guest, those that still are in the detour tap first.
  private func letThrough(_ ward: Ward) {
    ward.phase = .learning
    do {
      try Detour.release(machineTap: ward.machine.tapIndex, netlink)
    } catch {
      // As long as the filter is there, the loop passes on what it delivers (`learning`): slow, not lost.
      report("cannot take the detour of \(ward.machine.name) down: \(error)")
    }
    // What the tap's queue holds, so that nothing is overtaken; what comes in later is the loop's.
    readDetour(ward, limit: HoldQueue.maximumFrames)
  }

  private static func seconds(_ start: UInt64, _ end: UInt64) -> Double {
    end > start ? Double(end - start) / 1e9 : 0
  }

  // MARK: - QEMU

  private func readMonitor(_ ward: Ward) {
    let messages: [QMPMessage]
    do {
      messages = try ward.monitor.receive(using: &buffer)
    } catch {
      report("lost the monitor of \(ward.machine.name): \(error)")
      // Should QEMU live on, this sentry can no longer wake the VM: what it holds waits in the VM's own tap
      // for the daemon to continue it.
      dismiss(ward)
      daemon?.notice(.monitorClosed(name: ward.machine.name))
      return
    }
    for message in messages {
      switch (message, ward.phase) {
      case (.reply(let id, .success), .waking(let waking)) where id == waking.continueID:
        finishWaking(ward, waking)
      case (.reply(let id, .failure(let failure)), .waking(let waking))
      where id == waking.continueID:
        // QEMU's words, and perhaps its guest's: bounded, as they go to a log.
        report("QEMU does not continue \(ward.machine.name): \(failure.description.prefix(200))")
      case (.event(let event), .answering) where event.name == "RESUME":
        wake(ward, cause: .outside, flow: nil, firstSeen: MonotonicClock.nowNanoseconds())
      default: continue
      }
    }
  }

  // MARK: - Daemon

  private func acceptDaemon() {
    guard let socket = try? SequencedPacketSocket.accept(listener.rawValue) else { return }
    // The socket's file is root's alone; this holds even if somebody has changed that.
    guard let peer = try? socket.peerCredentials(), peer.uid == 0 else { return }
    dropDaemon()
    let link = DaemonLink(socket)
    do {
      try poll.add(link.descriptor, key: Kind.daemon.rawValue)
    } catch {
      return report("cannot watch the daemon's connection: \(error)")
    }
    daemon = link
    lastContact = MonotonicClock.nowNanoseconds()
  }

  private func dropDaemon() {
    guard let daemon else { return }
    poll.remove(daemon.descriptor)
    self.daemon = nil
    waitsForRoom = false
  }

  /// After each turn: what the daemon has not read yet waits until it does, or until it is too much.
  private func settleDaemon() {
    guard let daemon else { return }
    if daemon.isBroken {
      report("the daemon does not read what it is told; it is heard again when it comes back")
      return dropDaemon()
    }
    guard daemon.hasBacklog != waitsForRoom else { return }
    waitsForRoom = daemon.hasBacklog
    try? poll.watchForRoom(daemon.descriptor, key: Kind.daemon.rawValue, waitsForRoom)
  }

  private func readDaemon() {
    guard let link = daemon else { return }
    link.flush()
    do {
      for _ in 0..<Self.messageBurst {
        guard daemon === link, let message = try link.receive() else { return }
        lastContact = MonotonicClock.nowNanoseconds()
        serve(message)
      }
    } catch {
      dropDaemon()
    }
  }

  private func serve(_ message: DaemonLink.Message) {
    let id = message.request.id
    switch message.request.body {
    case .hello(let version):
      if message.descriptors.count == 1 {
        injector = PacketSocket(adopting: OwnedFileDescriptor(owning: message.descriptors[0]))
      } else {
        for descriptor in message.descriptors { close(descriptor) }
      }
      guard version == SentryProtocol.version, injector != nil else {
        refuse(
          id, .version,
          "this sentry speaks version \(SentryProtocol.version); it wakes its machines and ends")
        return retire()
      }
      let machines = wards.values.map {
        GuardStatus(name: $0.machine.name, phase: $0.publicPhase)
      }
      daemon?.reply(id, machines[...]) { .welcome(pid: getpid(), $0) }
    case .heartbeat: daemon?.reply(id, .done)
    case .guardMachine(let machine):
      do {
        try adopt(machine, message.descriptors)
        daemon?.reply(id, .done)
      } catch {
        refuse(id, .unusable, "\(error)")
      }
    case .arm(let name):
      failpoints.reach(SentryStep.arming.failpoint)
      with(name, id) { ward in
        guard case .learning = ward.phase else { return refusePhase(id, ward) }
        ward.cursors.table.forgetUsedPorts()
        ward.phase = .holding(HoldQueue(in: room), useBefore: ward.learner.summary.framesOfUse)
        daemon?.reply(id, .done)
      }
    case .commit(let name):
      failpoints.reach(SentryStep.committing.failpoint)
      with(name, id) { commit($0, id) }
    case .wake(let name, let cause):
      with(name, id) {
        wake(
          $0, cause: cause, flow: nil, firstSeen: MonotonicClock.nowNanoseconds(), order: id)
      }
    case .rules(let name, let rules):
      with(name, id) { ward in
        guard permits(rules, id) else { return }
        ward.rules.own = rules
        daemon?.reply(id, .done)
      }
    case .hostRules(let rules):
      guard permits(rules, id) else { return }
      hostRules = rules
      for ward in wards.values { ward.rules.host = rules }
      daemon?.reply(id, .done)
    case .ports(let name, let ports):
      with(name, id) { ward in
        guard case .holding = ward.phase else { return refusePhase(id, ward) }
        guard max(ports.tcp.count, ports.udp.count) <= UsedPorts.limit else {
          return refuse(id, .unusable, "too many ports are in use")
        }
        ward.cursors.table.setUsedPorts(ports)
        daemon?.reply(id, .done)
      }
    case .traffic(let names):
      let reports = names.compactMap { name in wards[name].map { traffic($0) } }
      daemon?.reply(id, reports[...]) { .traffic($0) }
    case .lend(let name):
      with(name, id) { ward in
        daemon?.reply(
          id,
          .lent(
            LentDescriptors(
              cursors: ward.cursors.addresses, detourTap: ward.detourTap.rawValue)))
      }
    case .forget(let name):
      if let ward = wards[name] { dismiss(ward) }
      daemon?.reply(id, .done)
    }
  }

  private func commit(_ ward: Ward, _ id: UInt64) {
    guard case .holding(let held, let useBefore) = ward.phase else { return refusePhase(id, ward) }
    // The guest is paused: what the tap still shows is the last that it said, and the last that QEMU took
    // for it. A paused QEMU reads one more frame into a queue of its own, so the tap's being empty does
    // not say that the guest has seen everything; that no use was seen since the arming does.
    ward.drain(discard: false, buffer: &buffer)
    let now = MonotonicClock.nowNanoseconds()
    ward.noticeLosses(at: now)
    let obstacles = ward.learner.quiescence(at: now)
    let used = ward.learner.summary.framesOfUse != useBefore
    guard !used, obstacles.isEmpty, ward.lookingAwayUntil == nil else {
      return refuse(
        id, .activity,
        "its traffic is not quiet: "
          + (used || obstacles.isEmpty ? "it was used just now" : Self.text(obstacles)))
    }
    ward.deafen()
    ward.sentry.beginSleep()
    ward.cursors.table.generation += 1
    ward.phase = .answering(HoldQueue(in: room))
    ward.answered = 0
    for frame in held.frames {
      frame.withUnsafeBytes { take($0, for: ward, at: now) }
    }
    failpoints.reach(SentryStep.answering.failpoint)
    if case .answering = ward.phase {
      daemon?.reply(id, .done)
    } else {
      refuse(id, .activity, "a frame came in that only the guest can answer")
    }
  }

  private func traffic(_ ward: Ward) -> TrafficReport {
    let now = MonotonicClock.nowNanoseconds()
    let summary = ward.learner.summary
    var obstacles = ward.learner.quiescence(at: now).map(\.description)
    let busy = ward.lookingAwayUntil != nil
    if busy { obstacles.append("the guest is too busy to be watched") }
    return TrafficReport(
      name: ward.machine.name, phase: ward.publicPhase,
      secondsSinceUse: busy ? 0 : Self.seconds(summary.lastUse, now),
      framesOfUse: summary.framesOfUse, obstacles: obstacles,
      addresses: ward.cursors.table.addresses.map { "\($0.address)" },
      answeredFrames: ward.answered)
  }

  private static func text(_ obstacles: [Obstacle]) -> String {
    obstacles.map(\.description).joined(separator: "; ")
  }

  /// Refuses what costs every frame too much.
  private func permits(_ rules: [Rule], _ id: UInt64) -> Bool {
    guard rules.count > RuleTable.limit else { return true }
    refuse(id, .unusable, "\(rules.count) rules; at most \(RuleTable.limit) are possible")
    return false
  }

  private func with(_ name: String, _ id: UInt64, _ body: (Ward) -> Void) {
    if let ward = wards[name] {
      body(ward)
    } else {
      refuse(id, .unknownMachine, "the sentry has no machine named \(name)")
    }
  }

  private func refusePhase(_ id: UInt64, _ ward: Ward) {
    refuse(id, .wrongPhase, "\(ward.machine.name) is \(ward.publicPhase.rawValue)")
  }

  private func refuse(_ id: UInt64, _ code: SentryReply.Refusal, _ message: String) {
    daemon?.reply(id, .refused(code: code, message: message))
  }

  // MARK: - Wards

  private func adopt(_ machine: GuardedMachine, _ descriptors: [CInt]) throws {
    guard descriptors.count == SentryProtocol.descriptorsPerMachine else {
      for descriptor in descriptors { close(descriptor) }
      throw LinuxError(
        code: .malformed, message: "\(descriptors.count) descriptors came with \(machine.name)")
    }
    if let old = wards[machine.name] { dismiss(old) }
    let monitor = MonitorChannel(adopting: OwnedFileDescriptor(owning: descriptors[0]))
    let memory = OwnedFileDescriptor(owning: descriptors[1])
    let detourTap = OwnedFileDescriptor(owning: descriptors[2])
    let tapWatch = PacketSocket(adopting: OwnedFileDescriptor(owning: descriptors[3]))
    guard wards.count < wardLimit else {
      throw LinuxError(
        code: .exhausted,
        message: "the sentry's limit of open files is enough for \(wardLimit) machines; raise "
          + "the daemon's (LimitNOFILE in its unit) and restart both")
    }
    let cursors: CursorMemory
    // A new machine may have an old one's name: what is known is of use only if it is the same guest.
    if let known = acquaintances.removeValue(forKey: machine.name),
      known.macAddress == machine.macAddress, !machine.asleep
    {
      cursors = try .renew(memory, acquaintance: known.header)
    } else {
      cursors = try CursorMemory(memory)
    }
    guard "\(cursors.table.guest)" == machine.macAddress else {
      throw LinuxError(code: .malformed, message: "the cursors are another guest's")
    }
    let ward = Ward(
      machine, monitor: monitor, detourTap: detourTap, tapWatch: tapWatch, cursors: cursors,
      room: room)
    ward.rules = RuleTable(own: Array(machine.rules.prefix(RuleTable.limit)), host: hostRules)
    if !machine.asleep { ward.learner.invalidate(at: MonotonicClock.nowNanoseconds()) }
    let number = nextNumber
    nextNumber += 1
    wards[machine.name] = ward
    wardsByNumber[number] = ward
    numbers[machine.name] = number
    wardsByTap[machine.tapIndex] = ward
    do {
      try poll.add(ward.monitor.descriptor.rawValue, key: key(ward, .monitor))
      try poll.add(ward.detourTap.rawValue, key: key(ward, .detour))
      try learning.sockets.add(ward.tapWatch.descriptor, key: key(ward, .learner))
    } catch {
      remove(ward)
      throw error
    }
  }

  /// Lets a machine go. Whoever takes it over finds no frame missing: what was held for it waits in its own
  /// tap, and the detour is gone.
  private func dismiss(_ ward: Ward) {
    switch ward.phase {
    case .learning: break
    case .holding(let hold, _), .answering(let hold):
      replay(hold, to: ward)
      letThrough(ward)
    case .waking(let waking):
      for order in waking.orders { refuse(order, .unknownMachine, "the machine is gone") }
      replay(waking.hold, to: ward)
      letThrough(ward)
    }
    remove(ward)
    if acquaintances.count < Self.acquaintanceLimit {
      acquaintances[ward.machine.name] = (ward.machine.macAddress, ward.cursors.acquaintance)
    }
  }

  private func remove(_ ward: Ward) {
    poll.remove(ward.monitor.descriptor.rawValue)
    poll.remove(ward.detourTap.rawValue)
    learning.sockets.remove(ward.tapWatch.descriptor)
    if let number = numbers.removeValue(forKey: ward.machine.name) {
      wardsByNumber[number] = nil
    }
    if wardsByTap[ward.machine.tapIndex] === ward { wardsByTap[ward.machine.tapIndex] = nil }
    wards[ward.machine.name] = nil
  }

  private func key(_ ward: Ward, _ kind: Kind) -> UInt64 {
    (numbers[ward.machine.name] ?? 0) << 8 | kind.rawValue
  }

  private func report(_ message: String) {
    let second = MonotonicClock.nowNanoseconds() / 1_000_000_000
    if second != reportSecond {
      if suppressedReports > 0 { log("\(suppressedReports) more complaints in a second") }
      (reportSecond, reportsThisSecond, suppressedReports) = (second, 0, 0)
    }
    guard reportsThisSecond < Self.reportsPerSecond else {
      suppressedReports += 1
      return
    }
    reportsThisSecond += 1
    log(message)
  }

  private func log(_ message: String) {
    let line = "dormouse-sentry: \(message)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
  }
}
