import API
import TestBed
import Testing

/// The automatic policy: a VM that nobody uses falls asleep by itself, and one that is used does not.
@Suite(
  .serialized, .timeLimit(.minutes(3)), .showsLogsOnFailure, .scene("idler", memoryMegabytes: 384))
struct IdlePolicyTests {
  static let limit = 3.0

  let scene: Scene

  init() throws { scene = try Scene.current() }

  @Test("An idle guest falls asleep by itself, keepalives and pings notwithstanding")
  func idle() async throws {
    let web = try await HTTPConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv6)
    #expect(try await web.get().status == 200)
    let mark = try await scene.eventMark()
    #expect(
      try await scene.api.set(scene.name, SettingsRequest(idle: .after(seconds: Self.limit)))
        .idleAfterSeconds
        == Self.limit)
    let clock = ContinuousClock()
    let start = clock.now
    let pinging = pinging()
    let asleep = try await scene.wait(for: .asleep, within: .seconds(20))
    print("asleep after \(clock.now - start)")
    // Not before its time: it was used just before.
    #expect(clock.now - start > .seconds(Self.limit - 0.5))
    try await Task.sleep(for: .seconds(2))
    #expect(try await scene.machine().stateSince == asleep.stateSince)
    pinging.cancel()
    let lost = try await pinging.value
    #expect(lost == 0)
    try await scene.event(.asleep, after: mark, within: .seconds(1))

    // It sleeps again when it has been left alone for as long again, and not at once.
    try await echo.echo(Array("wake up".utf8))
    try await scene.wait(for: .awake)
    let awake = clock.now
    try await scene.wait(for: .asleep, within: .seconds(20))
    #expect(clock.now - awake > .seconds(Self.limit - 0.5))
    #expect(try await web.isOpen())
    try await echo.echo(Array("once more".utf8))
    let keepalives = scene.keepalives.count()
    #expect(keepalives.answered >= keepalives.sent - keepalives.open)
  }

  @Test("A guest that computes stays awake, though nobody talks to it")
  func computing() async throws {
    _ = try await scene.api.wake(scene.name)
    try await scene.guest.run(
      "systemd-run --unit=busy --quiet sha1sum /dev/zero", from: scene.client)
    _ = try await scene.api.set(scene.name, SettingsRequest(idle: .after(seconds: Self.limit)))
    let mark = try await scene.eventMark()
    try await Task.sleep(for: .seconds(Self.limit * 2 + 1))
    #expect(try await scene.machine().state == .awake)
    let events = try await scene.events(after: mark)
    #expect(!events.contains { $0.kind == .fallingAsleep })
    try await scene.guest.run("systemctl stop busy", from: scene.client)
    try await scene.wait(for: .asleep, within: .seconds(20))
  }

  @Test("A guest that somebody talks to stays awake, though it hardly computes")
  func talking() async throws {
    _ = try await scene.api.wake(scene.name)
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("hello".utf8))
    let mark = try await scene.eventMark()
    for round in 0..<7 {
      try await echo.echo(Array("round \(round)".utf8))
      try await Task.sleep(for: .seconds(1))
    }
    #expect(try await scene.machine().state == .awake)
    let events = try await scene.events(after: mark)
    #expect(!events.contains { $0.kind == .fallingAsleep })
  }

  @Test("Without a limit it stays awake for ever")
  func never() async throws {
    _ = try await scene.api.wake(scene.name)
    let machine = try await scene.api.set(scene.name, SettingsRequest(idle: .never))
    #expect(machine.idleAfterSeconds == nil)
    try await Task.sleep(for: .seconds(Self.limit * 2))
    #expect(try await scene.machine().state == .awake)
  }

  /// Pings over both address families, twice a second, until cancelled; counts what was lost.
  private func pinging() -> Task<Int, any Error> {
    Task { [scene] in
      let pingers = scene.guest.addresses.both.map { Pinger(from: scene.client, to: $0) }
      var lost = 0
      while !Task.isCancelled {
        for pinger in pingers where try await pinger.ping(within: .seconds(2)) == nil { lost += 1 }
        do {
          try await Task.sleep(for: .milliseconds(500))
        } catch {
          break
        }
      }
      return lost
    }
  }
}
