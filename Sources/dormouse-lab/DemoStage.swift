import API
import FoundationEssentials
import TestBed

/// The demo's two acts: the same guest, used and left alone in the same way.
struct DemoStage: Sendable {
  let lab: Lab
  let network: LabNetwork
  /// Has TCP keepalives on, once a second; after three without an answer it gives a connection up.
  let client: LabClient
  /// Has none, and so loses no connection to a machine that is away.
  let patient: LabClient

  static let secondsAsleep = 10
  private static let touchedMegabytes = 300

  // MARK: - Dormouse

  func playDormouse() async throws -> DemoAct {
    chapter("A guest with sshd and nginx, asleep after 5 s without use")
    let daemon = try LabDaemon(on: network, in: lab)
    try await daemon.start()
    let guest = try await Guest("debian", on: network, in: lab)
    try await create(guest, on: daemon)
    try await order(daemon, ["start", guest.name])
    try await boot(guest)

    chapter("A client uses it and then leaves it alone")
    let counter = try await KeepaliveCounter(on: client)
    let (ssh, http) = try await open(guest)
    let left = ContinuousClock.now
    var act = DemoAct()
    let report = try await waitUntilAsleep(guest, on: daemon, since: left, &act)
    act.releaseSeconds = report.durationSeconds

    chapter("Asleep, for \(Self.secondsAsleep) s")
    try await order(daemon, ["list"])
    try await watch(guest, counter, &act)
    say(
      "Pings answered: \(act.pingsAnswered) of \(Self.secondsAsleep). "
        + "TCP keepalives answered: \(act.keepalives.answered) of \(act.keepalives.sent).")
    guard try await daemon.client.show(guest.name).state == .asleep else {
      throw TestBedError(code: .malformed, message: "\(guest.name) is not asleep any more")
    }

    chapter("Somebody types in the SSH session")
    let answer = try await ssh.run("echo here", within: .seconds(30))
    act.replySeconds = answer.delay.inSeconds
    say("ssh> echo here")
    say("\(answer.output)                    [reply after \(seconds(act.replySeconds))]")
    let page = try await http.get()
    say("GET / on the old HTTP connection: status \(page.status), \(seconds(page.delay.inSeconds))")
    act.sshLives = try await ssh.isOpen()
    act.httpLives = try await http.isOpen() && page.status == 200
    act.clockBehindSeconds = try await clockBehind { try await ssh.run($0).output }
    if let wake = try await daemon.client.show(guest.name).lastWake {
      say(
        "Woken by \(wake.flow ?? wake.reason): "
          + "\(milliseconds(wake.firstFrameToContinueSeconds ?? 0)) from its first frame to the "
          + "order to go on.")
    }
    say(
      "The guest's clock is \(decimal(abs(act.clockBehindSeconds) * 1_000, 0)) ms off; "
        + "both connections are the ones from before.")
    counter.stop()
    await daemon.tearDown()
    return act
  }

  private func create(_ guest: Guest, on daemon: LabDaemon) async throws {
    let network = "bridge=\(network.bridge),mac=\(guest.addresses.macAddress)"
    say("$ dormouse create \(guest.name) --memory 512M --idle-after 5s \\")
    say("    --image disk.qcow2 --kernel kernel --initrd initrd --append \"...\" \\")
    say("    --network \(network)")
    say(
      try await daemon.dormouse(
        "create", guest.name, "--memory", "512M", "--idle-after", "5s",
        "--image", guest.disk.path, "--kernel", guest.image.kernel,
        "--initrd", guest.image.initrd, "--append", guest.kernelArguments,
        "--network", network
      ).trimmed)
  }

  private func order(_ daemon: LabDaemon, _ words: [String]) async throws {
    say("$ dormouse \(words.joined(separator: " "))")
    say(try await daemon.dormouse(words).trimmed)
  }

  private func waitUntilAsleep(
    _ guest: Guest, on daemon: LabDaemon, since left: ContinuousClock.Instant, _ act: inout DemoAct
  ) async throws -> SleepReport {
    var before: HostMemory?
    let asleep = try await eventually("the guest to fall asleep", within: .seconds(60)) {
      let machine = try await daemon.client.show(guest.name)
      if machine.state == .awake, let pid = machine.pid {
        before = try HostMemory.current(groupOf: pid)
      }
      return machine.state == .asleep ? machine : nil
    }
    let waited = (ContinuousClock.now - left).inSeconds
    guard let before, let pid = asleep.pid, let report = asleep.sleep else {
      throw TestBedError(code: .malformed, message: "the daemon does not say how the sleep went")
    }
    let after = try HostMemory.current(groupOf: pid)
    act.releasedBytes = Int64(before.groupBytes) - Int64(after.groupBytes)
    say(
      "It fell asleep by itself \(seconds(waited)) later; that took "
        + "\(seconds(report.durationSeconds)). What the host got back:")
    func row(_ name: String, _ before: UInt64, _ after: UInt64, grows: Bool = false) -> [String] {
      let gain = (Int64(before) - Int64(after)) * (grows ? -1 : 1)
      return [name, mebibytes(before), mebibytes(after), mebibytes(gain)]
    }
    let lines = table([
      ["", "awake", "asleep", "gained"],
      row("guest's memory in RAM", report.touchedBytes, report.residentBytes),
      row("QEMU's control group", before.groupBytes, after.groupBytes),
      row(
        "host's MemAvailable", before.availableBytes, after.availableBytes, grows: true),
    ])
    for line in lines { say("  " + line) }
    return report
  }

  // MARK: - Saving

  func playSaved() async throws -> DemoAct {
    chapter("The same guest without Dormouse: save to disk and restore")
    let guest = try await Guest("saved", on: network, in: lab)
    let machine = try await BareMachine(guest, on: network, in: lab)
    try await boot(guest)
    let counter = try await KeepaliveCounter(on: client)
    let patientSession = try await SSHSession(
      from: patient, to: guest.addresses.ipv4, image: guest.image,
      log: lab.directory + "/patient.log")
    let (ssh, http) = try await open(guest)

    var act = DemoAct()
    act.releasedBytes = Int64(try HostMemory.residentBytes(of: machine.process.pid))
    let start = ContinuousClock.now
    let file = try await machine.save()
    act.releaseSeconds = (ContinuousClock.now - start).inSeconds
    say(
      "Paused, written to a file and ended in \(seconds(act.releaseSeconds)); "
        + "away for \(Self.secondsAsleep) s.")
    try await watch(guest, counter, &act)
    act.sshLives = try await ssh.isOpen()
    act.httpLives = try await http.isOpen()
    say(
      "Pings answered: \(act.pingsAnswered) of \(Self.secondsAsleep). "
        + "TCP keepalives answered: \(act.keepalives.answered) of \(act.keepalives.sent). "
        + "Connections lost: \([act.sshLives, act.httpLives].count { !$0 }) of 2.")

    say("Somebody types in a third session, which has no keepalives and so still stands.")
    async let answer = patientSession.run("echo here", within: .seconds(90))
    let restored = try await file.restore()
    act.replySeconds = try await answer.delay.inSeconds
    say("A new QEMU has read the file; reply after \(seconds(act.replySeconds)).")
    act.clockBehindSeconds = try await clockBehind { try await patientSession.run($0).output }
    counter.stop()
    try await restored.stop()
    return act
  }

  // MARK: - Both

  private func boot(_ guest: Guest) async throws {
    let start = ContinuousClock.now
    try await guest.waitUntilUp(from: client)
    say("Up: sshd and nginx answer after \(seconds((ContinuousClock.now - start).inSeconds)).")
    try await guest.touchMemory(megabytes: Self.touchedMegabytes, from: client)
    say("The guest has filled \(Self.touchedMegabytes) MiB of its memory with random data.")
  }

  private func open(_ guest: Guest) async throws -> (SSHSession, HTTPConnection) {
    let ssh = try await SSHSession(
      from: client, to: guest.addresses.ipv4, image: guest.image,
      log: lab.directory + "/ssh-\(guest.name).log")
    let http = try await HTTPConnection(from: client, to: guest.addresses.ipv4)
    let page = try await http.get()
    say("An SSH session is open. An HTTP connection, too: GET / gives status \(page.status).")
    say("Both have TCP keepalives on: a probe per second; three without an answer end them.")
    return (ssh, http)
  }

  /// Pings once a second, and counts.
  private func watch(
    _ guest: Guest, _ counter: KeepaliveCounter, _ act: inout DemoAct
  ) async throws {
    let pinger = Pinger(from: client, to: guest.addresses.ipv4)
    let clock = ContinuousClock()
    let start = clock.now
    let first = counter.count()
    for second in 1...Self.secondsAsleep {
      // A machine that is away makes the sending fail, too, once its address is not resolved any more.
      if let delay = try? await pinger.ping(within: .milliseconds(800)), delay != .zero {
        act.pingsAnswered += 1
      }
      try await Task.sleep(until: start + .seconds(second), clock: clock)
    }
    let last = counter.count()
    act.keepalives.sent = last.sent - last.open - (first.sent - first.open)
    act.keepalives.answered = last.answered - first.answered
  }

  /// Compares the clocks two seconds after a wake.
  private func clockBehind(_ run: (String) async throws -> String) async throws -> Double {
    try await Task.sleep(for: .seconds(2))
    let before = Date()
    let told = try await run("date +%s.%N")
    let after = Date()
    guard let guest = Double(told) else {
      throw TestBedError(code: .malformed, message: "the guest says that it is \"\(told)\"")
    }
    return (before.timeIntervalSince1970 + after.timeIntervalSince1970) / 2 - guest
  }
}

extension String {
  /// Without white space at its end.
  fileprivate var trimmed: String {
    var rest = Substring(self)
    while let last = rest.last, last.isWhitespace { rest.removeLast() }
    return String(rest)
  }
}
