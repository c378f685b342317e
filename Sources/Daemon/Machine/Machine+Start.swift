import API
import FoundationEssentials
import Frames
import Glibc
import Inventory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import QEMU
import Seamless
import Templates

extension Machine {
  /// Writes the VM's record, with copies of its kernel and initrd: what it boots from does not change
  /// under it.
  func create() async throws {
    try await inOrder { try await writeRecord() }
  }

  private func writeRecord() async throws {
    if let image = request.image {
      guard access(image, R_OK | W_OK) == 0 else {
        throw APIError(
          .invalid, "the image \(image) cannot be opened: \(String(cString: strerror(errno)))")
      }
    }
    let directory = context.directory.machine(name)
    try directory.make()
    do {
      for (source, copy) in [
        (request.kernel, directory.kernel), (request.initrd, directory.initrd),
      ] {
        guard let source else { continue }
        try await onBlockingThread("copy") { try BootFile.copy(source, to: copy) }
      }
      let record = record
      try await context.inventory.write { try $0.insert(record) }
    } catch {
      directory.remove()
      throw error
    }
  }

  /// Starts the VM's QEMU. The machine description is frozen the first time.
  func start() async throws {
    try await inOrder {
      switch state {
      case .stopped, .failed: break
      case .starting, .awake, .fallingAsleep, .asleep, .waking, .saving:
        throw wrongState("started")
      }
      if memo.running != nil {
        throw DaemonError(
          .wrongState, "\(name)'s QEMU still runs but does not answer; stop it with --force")
      }
      enter(.starting)
      do {
        let name = name
        try await context.inventory.write { transaction in
          try transaction.begin(.start, of: name, step: "starting")
          try transaction.update(name) { $0.desiredState = .running }
        }
        let template = memo.template
        let running = try await launch()
        enter(.awake(running))
        await closeJournal("started")
        await tell(
          .started,
          template.map { "\(name) has started from the template \($0)" } ?? "\(name) has started")
        // The guest's clock stands where it was saved.
        if template != nil { stepClockSoon() }
      } catch {
        enter(.stopped)
        await closeJournal("failed")
        let (code, message) = describe(error)
        await noteFailure(code: code, message: message)
        throw error
      }
    }
  }

  private func launch() async throws -> RunningMachine {
    let description = try await frozenDescription()
    let template = try await openTemplate(fitting: description)
    let directory = context.directory.machine(name)
    try directory.make()
    let monitor = try UnixListener.bind(path: directory.monitorSocket, mode: 0o600)
    let sentryMonitor = try UnixListener.bind(path: directory.sentryMonitorSocket, mode: 0o600)
    let agent = try UnixListener.bind(path: directory.agentSocket, mode: 0o600)
    let tap = try openTap()
    let disk = try request.image.map { try Self.hold($0, O_RDWR) }
    let kernel = try request.kernel.map { _ in try Self.hold(directory.kernel, O_RDONLY) }
    let initrd = try request.initrd.map { _ in try Self.hold(directory.initrd, O_RDONLY) }

    let groupPath = context.configuration.controlGroup + "/" + record.uid
    try await endStrays()
    let group = try context.groups?.create(at: groupPath)
    reach(.launching)
    let launched = try await VirtualMachineProcess.launch(
      binary: context.configuration.qemuBinary,
      description: description,
      resources: MachineResources(
        monitors: [monitor.rawValue, sentryMonitor.rawValue], guestChannels: [agent.rawValue],
        taps: tap.map { [$0.number] } ?? [], disks: disk.map { [$0.number] } ?? [],
        kernel: kernel?.number, initrd: initrd?.number, state: template?.state.number),
      credentials: Credentials(uid: memo.userID, gid: memo.userID),
      controlGroupProcessFiles: group.map { [$0.processFile] } ?? [])

    reach(.launched)
    // QEMU alone listens now: should it die at once, connecting fails at once too.
    monitor.close()
    sentryMonitor.close()
    agent.close()
    let identity = launched.identity
    let process = try ProcessHandle(opening: identity)
    let runtime = RuntimeRecord(
      process: identity, tap: tap?.name ?? "", detourTap: "",
      tapDescriptor: launched.tapDescriptors.first ?? -1,
      controlGroup: group == nil ? nil : groupPath)
    var hasRun = false
    do {
      let client = try await QMPClient.connect(
        path: directory.monitorSocket, deadline: .seconds(30))
      if let template, let state = launched.state {
        try await load(template, from: state, into: client)
      }
      // Whoever finds this QEMU lets it run: the next one must not begin with the template again.
      memo.running = runtime
      memo.template = nil
      try await saveMemo()
      reach(.recorded)
      let machine = RunningMachine(
        runtime: runtime, process: process, monitor: client,
        detour: try runtime.findDetour(), group: group, lines: nil)
      attend(machine)
      let result = await guardedIfPossible(machine)
      reach(.guarded)
      hasRun = true
      try await client.cont()
      reach(.running)
      return result
    } catch {
      memo.running = nil
      if !hasRun { memo.template = template?.path }
      await Self.end(identity)
      try? group?.remove()
      directory.removeSockets()
      await saveHistory()
      if let error = error as? TemplateError, error.code == .damaged { throw error }
      let complaint = launched.complaints.recent()
      throw DaemonError(
        .startFailed,
        "QEMU of \(name) did not start as it should: \(error)"
          + (complaint.map { " (\($0))" } ?? ""))
    }
  }

  private static func hold(_ path: String, _ flags: CInt) throws(DaemonError) -> HeldFile {
    let number = open(path, flags | O_CLOEXEC)
    guard number >= 0 else {
      throw DaemonError(.startFailed, "cannot open \(path): \(String(cString: strerror(errno)))")
    }
    return HeldFile(owning: OwnedFileDescriptor(owning: number))
  }

  /// How long a state gets to be read.
  private static let loadingTime = Duration.seconds(300)

  /// The template that the guest is to continue from, if it has not run yet.
  private func openTemplate(fitting description: MachineDescription) async throws -> Template? {
    guard let path = memo.template else { return nil }
    let template = try await onBlockingThread("template") { try Template.open(path) }
    guard template.manifest.machine.uuid == description.uuid else {
      throw TemplateError(
        .unfit, "\(path) is another template than the one that \(name) was made from")
    }
    try template.manifest.requireFit(
      try await QEMUCapabilities.probe(binary: context.configuration.qemuBinary), at: path)
    return template
  }

  private func load(
    _ template: Template, from state: String, into monitor: QMPClient
  ) async throws {
    do {
      try await monitor.loadState(from: state, deadline: Self.loadingTime)
    } catch {
      throw TemplateError(
        .damaged, "\(name) cannot continue from the template \(template.path): \(error)")
    }
  }

  private func frozenDescription() async throws -> MachineDescription {
    if let description { return description }
    let capabilities = try await QEMUCapabilities.probe(binary: context.configuration.qemuBinary)
    let directory = context.directory.machine(name)
    let frozen = try MachineDescription.freeze(
      MachineRequest(
        name: name, memoryBytes: request.memoryBytes, cpus: request.cpus,
        kernel: request.kernel.map { _ in
          DirectKernel(
            kernel: directory.kernel, initrd: request.initrd.map { _ in directory.initrd },
            commandLine: request.kernelCommandLine ?? "")
        },
        disks: request.image.map { path in
          [DiskDescription(path: path, format: request.diskFormat)]
        } ?? [],
        interfaces: request.networks.compactMap(\.macAddress).map {
          NetworkInterfaceDescription(macAddress: $0)
        }),
      capabilities: capabilities)
    let json = try JSONEncoder().encode(frozen)
    let name = name
    record = try await context.inventory.write { transaction in
      try transaction.update(name) { $0.descriptionJSON = json }
    }
    return frozen
  }

  /// Makes the VM's tap and puts it onto its bridge.
  private func openTap() throws -> HeldTap? {
    guard let bridge = record.bridge else { return nil }
    let netlink = try RouteNetlink()
    guard let master = try netlink.link(named: bridge) else {
      throw DaemonError(.startFailed, "there is no bridge named \(bridge) in this namespace")
    }
    let tap = try Tap.open(named: "dmt" + record.uid, persistent: false, virtioHeader: true)
    guard let index = try netlink.linkIndex(named: tap.name) else {
      throw DaemonError(.startFailed, "the tap \(tap.name) disappeared")
    }
    try disableIPv6(onInterface: tap.name)
    try netlink.setMTU(index, master.mtu)
    try netlink.setMaster(index, master: master.index)
    try netlink.setUp(index, up: true)
    return HeldTap(tap)
  }

  /// Ends QEMUs of this VM that no record knows: those that a daemon had launched when it died.
  ///
  /// They are found in the VM's own control group, where nobody else is.
  func endStrays() async throws {
    let path = context.configuration.controlGroup + "/" + record.uid
    guard let group = try context.groups?.group(at: path) else { return }
    for pid in try group.processes() {
      logger.warning("ending a QEMU that is in no record", metadata: ["pid": "\(pid)"])
      guard let identity = try? ProcessIdentity.of(pid: pid) else { continue }
      await Self.end(identity)
    }
    // A process leaves its group a little later than it ends.
    for _ in 0..<50 {
      do {
        return try group.remove()
      } catch {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  private static func end(_ identity: ProcessIdentity) async {
    guard let process = try? ProcessHandle(opening: identity) else { return }
    try? process.signal(SIGKILL)
    _ = try? await process.waitForExit(timeout: .seconds(5))
    _ = try? process.reap()
  }

  // MARK: - Attending

  /// Watches for the end of a QEMU.
  ///
  /// - Parameter running: without ``RunningMachine/lines``, which would be held open until then.
  func attend(_ running: RunningMachine) {
    let events = running.monitor.events()
    let guestShutDown = Task {
      var down = false
      // By the guest's own doing; a signal or a monitor's `quit` are told the same way.
      for await event in events where event.name == "SHUTDOWN" {
        down = event.data?["guest"]?.boolValue ?? false
      }
      return down
    }
    Task {
      _ = try? await running.process.waitForExit(timeout: nil)
      running.monitor.close()
      await self.processEnded(running, guestShutDown: await guestShutDown.value)
    }
  }

  // MARK: - Guarding

  /// A VM without a sentry runs all the same; it is just not put to sleep.
  private func guardedIfPossible(_ running: RunningMachine) async -> RunningMachine {
    guard record.bridge != nil else { return running }
    do {
      return try await guarded(running)
    } catch {
      // It may have taken the VM before something else failed: it must not sleep through a detour that the
      // daemon does not know.
      _ = try? await context.sentry.request(.forget(name: name))
      logger.warning("the sentry cannot guard the VM", metadata: ["error": "\(error)"])
      await noteFailure(code: "unguarded", message: "\(name) cannot be put to sleep: \(error)")
      return running
    }
  }

  /// Makes the way through the sentry, entrusts the VM to it, and remembers it.
  private func guarded(_ running: RunningMachine) async throws -> RunningMachine {
    guard let guest = MACAddress(record.macAddress ?? "") else {
      throw DaemonError(.startFailed, "\(record.macAddress ?? "") is no MAC address")
    }
    let netlink = try RouteNetlink()
    let detourTap = try Tap.open(
      named: "dmd" + UserIDs.freshIdentifier(), persistent: false, virtioHeader: false)
    guard let machineLink = try netlink.link(named: running.runtime.tap),
      let detourIndex = try netlink.linkIndex(named: detourTap.name)
    else {
      throw LinuxError(code: .notFound, message: "the taps of \(name) are not there")
    }
    try disableIPv6(onInterface: detourTap.name)
    try netlink.setNoARP(detourIndex)
    try netlink.setMTU(detourIndex, machineLink.mtu)
    try netlink.setUp(detourIndex, up: true)
    let detour = Detour(machineTap: machineLink.index, detourTap: detourIndex)
    try detour.release(netlink)
    try detour.prepare(netlink)
    let runtime = RuntimeRecord(
      process: running.runtime.process, tap: running.runtime.tap, detourTap: detourTap.name,
      tapDescriptor: running.runtime.tapDescriptor, controlGroup: running.runtime.controlGroup)
    let lines = SentryLines(
      cursors: try CursorTable.makeMemory(for: guest, acquaintance: acquaintance(of: running)),
      detourTap: detourTap.takeDescriptor())
    let result = RunningMachine(
      runtime: runtime, process: try ProcessHandle(opening: runtime.process),
      monitor: running.monitor, detour: detour, group: running.group, lines: lines)
    try await entrust(result, lines, asleep: false)
    memo.running = runtime
    try await saveMemo()
    return result
  }

  /// What is known of the guest: a VM whose addresses had to be learned anew could not sleep until its guest
  /// has a reason to tell them.
  private func acquaintance(of running: RunningMachine) -> [UInt8]? {
    running.lines.flatMap { CursorTable.acquaintance(in: $0.cursors) }
      ?? (try? KernelFile.bytes(
        context.directory.machine(name).acquaintance, limit: CursorTable.headerBytes))
  }

  /// Keeps what is known of the guest for a daemon that finds neither sentry nor predecessor.
  func saveAcquaintance(of running: RunningMachine) {
    guard let lines = running.lines, let bytes = CursorTable.acquaintance(in: lines.cursors) else {
      return
    }
    do {
      try Data(bytes).write(
        to: URL(filePath: context.directory.machine(name).acquaintance), options: .atomic)
    } catch {
      logger.warning("cannot save what is known of the guest", metadata: ["error": "\(error)"])
    }
  }

  /// Gives the VM into the sentry's care with everything that it needs.
  func entrust(_ running: RunningMachine, _ lines: SentryLines, asleep: Bool) async throws {
    let path = context.directory.machine(name).sentryMonitorSocket
    let monitor = try await onBlockingThread("handshake") {
      try MonitorHandshake.negotiate(path: path, deadline: .seconds(5))
    }
    let learner = try PacketSocket.open(
      onInterface: running.detour.machineTap,
      mode: .learning(snapLength: Learner.sufficientCapture),
      // Whole segments count, up to 64 KiB each, however little of them is caught.
      receiveBuffer: 4 << 20)
    let mtu = try RouteNetlink().link(named: running.runtime.tap)?.mtu ?? 1500
    _ = try await context.sentry.request(
      .guardMachine(
        GuardedMachine(
          name: name, tapIndex: running.detour.machineTap,
          macAddress: record.macAddress ?? "", mtu: mtu, asleep: asleep,
          rules: rules.map(Rule.init))),
      descriptors: [
        monitor.number, lines.cursors.rawValue, lines.detourTap.rawValue, learner.descriptor,
      ])
  }

  /// Entrusts an awake VM to the sentry as if it had just started; when that fails the VM goes on, and is
  /// not put to sleep. An order of its own: no other may count on the old detour tap meanwhile.
  func guardAnew() async {
    await inOrder {
      guard case .awake(let running) = state else { return }
      _ = try? await context.sentry.request(.forget(name: name))
      let new = await guardedIfPossible(running)
      if case .awake(let current) = state, current.process.identity == running.process.identity {
        enter(.awake(new))
        if new !== running { running.releaseLines() }
      }
    }
  }
}
