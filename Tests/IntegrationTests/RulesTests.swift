import API
import FoundationEssentials
import Seamless
import TestBed
import Testing

/// What shall not wake a sleeping VM does not: rules that are made while it sleeps, and ports that nobody
/// listens on.
@Suite(
  .serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure, .scene("ruled", memoryMegabytes: 384))
struct RulesTests {
  static let patience = Duration.seconds(15)

  let scene: Scene

  init() throws { scene = try Scene.current() }

  @Test("A scan of a thousand closed ports gets the guest's own refusals, and wakes nobody")
  func scan() async throws {
    let ports = Array(UInt16(2000)..<2500)
    // The guest's own answers, which prove that its ports are closed to this client: twice, since a sentry
    // that has not seen one of them rightly takes no notice of that port.
    _ = try await scanBothFamilies(ports, answeredBy: .guest)
    let awake = try await scanBothFamilies(ports, answeredBy: .guest)
    #expect(awake.count == 2 * ports.count)
    let before = try await scene.sleep()
    let asleep = try await scanBothFamilies(ports, answeredBy: .sentry)
    #expect(asleep.count == 2 * ports.count)
    for (probe, answer) in asleep { #expect(answer == awake[probe], "\(probe)") }
    let after = try await scene.machine()
    #expect(after.state == .asleep && after.wakes == before.wakes)

    // One of them opens: it is closed no longer, and the others are.
    _ = try await scene.api.wake(scene.name)
    try await scene.guest.run(
      "systemd-run --quiet socat TCP6-LISTEN:2222,fork,reuseaddr,ipv6-v6only=0 PIPE; "
        + "until ss -tln | grep -q :2222; do sleep 0.1; done", from: scene.client)
    let again = try await scene.sleep()
    let others = ports.filter { $0 != 2222 }
    for (probe, answer) in try await scanBothFamilies(others, answeredBy: .sentry) {
      #expect(answer == awake[probe])
    }
    #expect(try await scene.machine().state == .asleep)
    for address in scene.guest.addresses.both {
      let echo = try await EchoConnection(
        from: scene.client, to: address, port: 2222, within: Self.patience)
      try await echo.echo(Array("open".utf8), within: Self.patience)
    }
    let wake = try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.wakes == again.wakes + 1 ? machine.lastWake : nil
    }
    #expect(wake.reason == WakeReason.syn.rawValue)
  }

  @Test("Rules take effect on a sleeping VM at once, and its connections live on")
  func atRunTime() async throws {
    let (client, address) = (scene.client, scene.guest.addresses.ipv4)
    let echo = try await EchoConnection(from: client, to: address)
    try await echo.echo(Array("before".utf8))
    let before = try await scene.sleep()
    let name = scene.name
    let source = client.addresses.ipv4
    _ = try await scene.daemon.dormouse("rules", name, "add", "from \(source) tcp port 80 ignore")
    #expect(try await !client.canConnect(to: address, port: 80, within: .seconds(1)))
    _ = try await scene.daemon.dormouse("rules", name, "add", "--at", "1", "tcp port 80 refuse")
    let start = ContinuousClock.now
    #expect(try await !client.canConnect(to: address, port: 80, within: .seconds(20)))
    // Refused, not left without an answer.
    #expect(ContinuousClock.now - start < .seconds(15))
    #expect(try await scene.machine().wakes == before.wakes)

    // Put off: the connection waits for the VM, and is there when something else wakes it.
    _ = try await scene.api.changeRules(of: name, .set([try TrafficRule("tcp port 80 defer")]))
    async let web = client.canConnect(to: address, port: 80, within: .seconds(60))
    try await Task.sleep(for: .milliseconds(1500))
    #expect(try await scene.machine().state == .asleep)
    try await echo.echo(Array("wake".utf8), within: Self.patience)
    #expect(try await web)
    let wake = try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.wakes == before.wakes + 1 ? machine.lastWake : nil
    }
    #expect(wake.reason == WakeReason.payload.rawValue)
    #expect(wake.heldFrames >= 2)

    // Who insists is let in.
    try await scene.sleep()
    _ = try await scene.api.changeRules(of: name, .set([try TrafficRule("tcp port 80 defer:2s")]))
    let asked = ContinuousClock.now
    #expect(try await client.canConnect(to: address, port: 80, within: .seconds(60)))
    #expect(ContinuousClock.now - asked > .seconds(2))
    #expect(try await echo.isOpen())
    try await echo.echo(Array("after".utf8), within: Self.patience)
  }

  @Test("Rules hold without the daemon, and the next one has them")
  func withoutDaemon() async throws {
    let (client, address) = (scene.client, scene.guest.addresses.ipv4)
    let list = [try TrafficRule("tcp port 80 ignore")]
    _ = try await scene.api.changeRules(of: scene.name, .set(list))
    let host = [try TrafficRule("tcp port 22 refuse")]
    _ = try await scene.api.changeRules(of: nil, .set(host))
    let before = try await scene.sleep()
    try await scene.daemon.kill()
    #expect(try await !client.canConnect(to: address, port: 80, within: .seconds(1)))
    #expect(try await !client.canConnect(to: address, port: 22, within: .seconds(1)))
    try await scene.daemon.start()
    let after = try await scene.wait(for: .asleep, within: Self.patience)
    #expect(after.wakes == before.wakes)
    #expect(try await scene.api.rules(of: scene.name).rules == list)
    #expect(try await scene.api.rules(of: nil).rules == host)
    // A new sentry, too.
    let sentry = try #require(try await scene.api.status().sentry.pid)
    try await scene.network.host.run("kill", "-9", "\(sentry)")
    try await eventually("another sentry", within: Self.patience) {
      let now = try await scene.api.status().sentry
      return now.state == .running && now.pid != sentry ? () : nil
    }
    #expect(try await !client.canConnect(to: address, port: 80, within: .seconds(1)))
    #expect(try await !client.canConnect(to: address, port: 22, within: .seconds(1)))
    #expect(try await scene.machine().wakes == before.wakes)
    _ = try await scene.api.changeRules(of: nil, .set([]))
    _ = try await scene.api.changeRules(of: scene.name, .set([]))
    #expect(try await client.canConnect(to: address, port: 80, within: .seconds(20)))
  }

  @Test("A scraper that need not wake it does not keep it awake either")
  func scraper() async throws {
    _ = try await scene.api.wake(scene.name)
    _ = try await scene.api.changeRules(
      of: scene.name,
      .set([try TrafficRule("from \(scene.client.addresses.ipv4) tcp port 80 ignore")]))
    let scraping = Task { [scene] in
      while !Task.isCancelled {
        _ = try? await scene.client.canConnect(
          to: scene.guest.addresses.ipv4, port: 80, within: .milliseconds(500))
        try? await Task.sleep(for: .milliseconds(700))
      }
    }
    defer { scraping.cancel() }
    _ = try await scene.api.set(scene.name, SettingsRequest(idle: .after(seconds: 2)))
    let asleep = try await scene.wait(for: .asleep, within: .seconds(30))
    try await Task.sleep(for: .seconds(2))
    let later = try await scene.machine()
    #expect(later.state == .asleep && later.stateSince == asleep.stateSince)
    _ = try await scene.api.set(scene.name, SettingsRequest(idle: .never))
    _ = try await scene.api.changeRules(of: scene.name, .set([]))
  }

  @Test("Rules that make no sense are refused, and change nothing")
  func nonsense() async throws {
    let before = try await scene.api.rules(of: scene.name)
    for words in [
      ["add", "tcp port 99999 ignore"], ["add"], ["remove", "7"], ["remove", "x"], ["polish"],
      ["set"], ["set", "--file", "/nothing/there"],
    ] {
      await #expect(throws: TestBedError.self) {
        try await scene.daemon.dormouse(["rules", scene.name] + words)
      }
    }
    #expect(try await scene.api.rules(of: scene.name) == before)
    let shown = try await scene.daemon.dormouse("rules", "--host", "--format", "json")
    #expect(shown.contains("\"rules\""))
  }

  // MARK: -

  /// Sends a SYN to each port over both families; returns the answers by family and port, without checksums.
  private func scanBothFamilies(
    _ ports: [UInt16], answeredBy speaker: PresenceWatch.Speaker
  ) async throws -> [String: [UInt8]] {
    let scanner = try await PortScanner(
      from: scene.client, to: scene.guest.addresses.macAddress)
    var answers: [String: [UInt8]] = [:]
    for (family, own, address) in [
      ("IPv4", scene.client.addresses.ipv4, scene.guest.addresses.ipv4),
      ("IPv6", scene.client.addresses.ipv6, scene.guest.addresses.ipv6),
    ] {
      let found = try await scanner.scan(ports, at: address, from: own, within: .seconds(40))
      for (port, answer) in found {
        var answer = answer
        // An awake guest leaves the TCP checksum to its host, so that its frames are seen without. The
        // sentry leaves nothing to anybody.
        if speaker == .sentry {
          #expect(ObservedSegment(answer[...])?.isChecksumRight == true, "\(family) \(port)")
        }
        let checksum = answer.count - 4
        if checksum > 0 { answer.replaceSubrange(checksum..<checksum + 2, with: [0, 0]) }
        answers["\(family) \(port)"] = answer
      }
    }
    return answers
  }
}
