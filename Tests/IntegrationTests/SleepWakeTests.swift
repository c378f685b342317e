import API
import FoundationEssentials
import Seamless
import Synchronization
import TestBed
import Testing

/// The main job: a guest with real services sleeps, its memory is the host's again, nobody on the network
/// notices, and the first real use wakes it.
@Suite(
  .serialized, .timeLimit(.minutes(3)), .showsLogsOnFailure, .scene("sleeper"))
struct SleepWakeTests {
  /// Far above what a wake takes, and far below what a user would call broken.
  static let patience = Duration.seconds(5)
  static let touchedMegabytes = 200

  private struct Sleeps {
    /// From the end of an order to sleep until just before something wakes it: asleep for certain.
    var over: [Range<ContinuousClock.Instant>] = []
    var since: ContinuousClock.Instant?
  }
  private static let sleeps = Mutex(Sleeps())

  let scene: Scene

  init() throws { scene = try Scene.current() }

  @Test("Asleep, its memory is the host's; keepalives, pings and neighbour discovery are answered")
  func sleepsSeamlessly() async throws {
    let (client, guest) = (scene.client, scene.guest)
    try await guest.touchMemory(megabytes: Self.touchedMegabytes, from: client)
    let shell = try await shell("idle")
    let web = try await HTTPConnection(from: client, to: guest.addresses.ipv4)
    let echo = try await EchoConnection(from: client, to: guest.addresses.ipv6)
    #expect(try await web.get().status == 200)
    try await echo.echo(Array("before".utf8))

    let before = try await scene.memory()
    let asleep = try await sleep()
    let after = try await scene.memory()
    #expect(asleep.state == .asleep)
    let report = try #require(asleep.sleep)
    print(
      "released \(report.releasedBytes >> 20) of \(report.touchedBytes >> 20) MiB"
        + " in \(report.durationSeconds) s")
    let touched = UInt64(Self.touchedMegabytes) << 20
    #expect(report.touchedBytes >= touched)
    #expect(Double(report.releasedBytes) >= 0.97 * Double(report.touchedBytes))
    #expect(report.residentBytes <= report.touchedBytes * 3 / 100)
    #expect(report.proxy == "sentry")
    // What the kernel says of group and host, rather than what the daemon says of itself.
    #expect(before.groupBytes >= after.groupBytes + report.releasedBytes * 9 / 10)
    #expect(after.availableBytes >= before.availableBytes + touched / 2)
    #expect(try await scene.detours() == 1)

    let counted = scene.keepalives.count()
    for second in 0..<7 {
      for address in guest.addresses.both {
        #expect(try await Pinger(from: client, to: address).ping() != nil, "second \(second)")
      }
      try await Task.sleep(for: .seconds(1))
    }
    let now = scene.keepalives.count()
    print(
      "keepalives asleep: \(now.sent - counted.sent), answered \(now.answered - counted.answered)")
    // Three connections, one probe a second each.
    #expect(now.sent - counted.sent >= 15)

    for address in guest.addresses.both {
      try await client.namespace.run("ip", "neigh", "flush", "dev", "eth0")
      #expect(try await Pinger(from: client, to: address).ping() != nil, "after a flush")
    }
    let neighbours = try await client.namespace.run("ip", "neigh", "show", "dev", "eth0")
    #expect(neighbours.contains(guest.addresses.macAddress))

    let still = try await scene.machine()
    #expect(still.state == .asleep)
    #expect(still.stateSince == asleep.stateSince)
    #expect(still.wakes == asleep.wakes)
    let processor = try await scene.machine().pid
    #expect(processor == asleep.pid)

    // Each connection carries its payload as if nothing had been, and none was reset.
    let delay = try await wakes(.payload, protocol: "tcp") {
      try await echo.echo(Array("this wakes it".utf8), within: Self.patience)
    }
    #expect(delay < Self.patience)
    #expect(try await web.get(within: Self.patience).status == 200)
    #expect(try await shell.run("echo $((40 + 2))").output == "42")
    try await clockIsRight()
    try await allOpen(shell, web, echo)
    try await shell.close()
  }

  @Test("An HTTP request on an idle connection wakes it, and is answered once")
  func wakesOnRequest() async throws {
    let web = try await HTTPConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    #expect(try await web.get().status == 200)
    try await sleep()
    try await wakes(.payload, protocol: "tcp") {
      let answer = try await web.get(within: Self.patience)
      #expect(answer.status == 200)
      return answer.delay
    }
    // A second answer to the request would come first here.
    #expect(try await web.get("/absent", within: Self.patience).status == 404)
  }

  @Test("Typing in an idle ssh session wakes it")
  func wakesOnTyping() async throws {
    let shell = try await shell("typing")
    try await sleep()
    try await wakes(.payload, protocol: "tcp") {
      let (output, delay) = try await shell.run("hostname", within: Self.patience)
      #expect(output == "guest")
      return delay
    }
    #expect(try await shell.isOpen())
    try await shell.close()
  }

  @Test("A new connection wakes it", arguments: [0, 1])
  func wakesOnConnection(family: Int) async throws {
    let address = scene.guest.addresses.both[family]
    try await sleep()
    try await wakes(.syn, protocol: "tcp") {
      let clock = ContinuousClock()
      let start = clock.now
      let echo = try await EchoConnection(
        from: scene.client, to: address, within: Self.patience)
      try await echo.echo(Array("hello".utf8), within: Self.patience)
      return clock.now - start
    }
  }

  @Test("A datagram wakes it, and is delivered exactly once", arguments: [0, 1])
  func wakesOnDatagram(family: Int) async throws {
    let address = scene.guest.addresses.both[family]
    try await sleep()
    try await wakes(.udp, protocol: "udp") {
      let echoes = try #require(
        try await scene.client.countDatagramEchoes(
          Array("datagram".utf8), to: address, within: Self.patience))
      #expect(echoes.count == 1)
      return echoes.delay
    }
  }

  @Test("An order wakes it, and the guest's clock is right")
  func wakesOnOrder() async throws {
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8))
    let before = try await sleep()
    try await Task.sleep(for: .seconds(5))
    try await endSleep()
    #expect(try await scene.machine().state == .asleep)
    let clock = ContinuousClock()
    let start = clock.now
    try await scene.daemon.dormouse("wake", scene.name)
    print("wake by order: \(clock.now - start)")
    #expect(clock.now - start < Self.patience)
    try await finished(wake: before.wakes + 1, .order, protocol: nil)
    #expect(try await scene.machine().state == .awake)
    try await clockIsRight()
    try await echo.echo(Array("after".utf8))

    // Awake, or asleep already: the same order again changes nothing.
    #expect(try await scene.api.wake(scene.name).wakes == before.wakes + 1)
    let asleep = try await sleep()
    #expect(try await scene.api.sleep(scene.name).sleeps == asleep.sleeps)
    try await endSleep()
    try await echo.echo(Array("once more".utf8), within: Self.patience)
  }

  @Test(
    "In all that, each keepalive to the sleeping VM was answered, and all but a few to the awake one"
  )
  func keepalivesAnswered() async throws {
    let sleeps = Self.sleeps.withLock { $0.over }
    var asleep = KeepaliveCounter.Count()
    for sleep in sleeps {
      let count = scene.keepalives.count(since: sleep.lowerBound, until: sleep.upperBound)
      asleep.sent += count.sent
      asleep.answered += count.answered
    }
    let all = scene.keepalives.count()
    let misses = scene.keepalives.misses()
    print(
      "keepalives asleep: \(asleep.sent), answered \(asleep.answered);"
        + " awake: \(all.sent - asleep.sent), missed \(misses.count), open \(all.open)")
    #expect(sleeps.count >= 9)
    #expect(asleep.sent > 15)
    #expect(asleep.answered == asleep.sent)
    // Linux answers segments that are not in order at most twice a second (net.ipv4.tcp_invalid_ratelimit). For
    // a guest whose clock stood still, its last answer was a moment ago; so it may skip the first after a sleep.
    for miss in misses {
      let isFirst = sleeps.map(\.upperBound).contains { end in
        end <= miss.at && (miss.previous ?? end) <= end
      }
      #expect(isFirst, "\(miss)")
    }
  }

  // MARK: -

  /// Puts it to sleep and notes since when it sleeps.
  @discardableResult
  private func sleep() async throws -> VirtualMachine {
    let asleep = try await scene.sleep()
    Self.sleeps.withLock { $0.since = .now }
    return asleep
  }

  /// Notes that something will wake it now. Each keepalive of its sleep must have been answered.
  private func endSleep() async throws {
    let since = try #require(Self.sleeps.withLock { $0.since.take() })
    let (end, count) = try await eventually("the last keepalive's answer", within: Self.patience) {
      let end = ContinuousClock.now
      let count = scene.keepalives.count(since: since, until: end)
      return count.open == 0 ? (end, count) : nil
    }
    #expect(count.answered == count.sent)
    Self.sleeps.withLock { $0.over.append(since..<end) }
  }

  private func shell(_ name: String) async throws -> SSHSession {
    try await SSHSession(
      from: scene.client, to: scene.guest.addresses.ipv4, image: scene.guest.image,
      log: scene.lab.directory + "/ssh-\(name).log")
  }

  private func allOpen(
    _ shell: SSHSession, _ web: HTTPConnection, _ echo: EchoConnection
  ) async throws {
    #expect(try await shell.isOpen())
    #expect(try await web.isOpen())
    #expect(try await echo.isOpen())
  }

  /// Runs what must wake the sleeping VM, and looks at what the daemon says of it.
  @discardableResult
  private func wakes(
    _ reason: WakeReason, protocol number: String, _ body: () async throws -> Duration
  ) async throws -> Duration {
    let before = try await scene.machine()
    try #require(before.state == .asleep)
    try await endSleep()
    let delay = try await body()
    print("wake by \(reason.rawValue): \(delay)")
    #expect(delay < Self.patience)
    try await finished(
      wake: before.wakes + 1, WakeCause(rawValue: reason.rawValue), protocol: number)
    return delay
  }

  /// Waits until a wake is over, which is reported a moment after the guest runs.
  private func finished(
    wake number: Int, _ cause: WakeCause, protocol prefix: String?
  ) async throws {
    let machine = try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.state == .awake && machine.wakes == number ? machine : nil
    }
    let wake = try #require(machine.lastWake)
    #expect(wake.reason == cause.rawValue)
    #expect(wake.totalSeconds < 5)
    #expect(abs(wake.at.timeIntervalSinceNow) < 30)
    if let prefix {
      #expect(wake.heldFrames >= 1)
      #expect(wake.flow?.hasPrefix(prefix) == true)
      let first = try #require(wake.firstFrameToContinueSeconds)
      #expect(first < 1)
    } else {
      #expect(wake.flow == nil)
    }
    #expect(machine.sleep == nil)
    #expect(try await scene.detours() == 0)
  }

  /// The guest slept, and yet its clock is the host's.
  private func clockIsRight() async throws {
    try await eventually("the guest's clock to be set", within: .seconds(5)) {
      let wake = try await scene.machine().lastWake
      return wake?.clockStepped == true ? () : nil
    }
    let before = Date()
    let text = try await scene.guest.run("date +%s.%N", from: scene.client)
    let after = Date()
    let guest = try #require(Double(text.prefix { $0.isNumber || $0 == "." }))
    #expect(guest > before.timeIntervalSince1970 - 1)
    #expect(guest < after.timeIntervalSince1970 + 1)
  }
}
