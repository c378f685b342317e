import TestBed
import Testing

/// The lab itself: what all other integration tests stand on.
@Suite(.serialized, .timeLimit(.minutes(3)), .showsLogsOnFailure)
struct LabTests {
  @Test("The guest boots, serves both address families and answers what the lab asks it")
  func guestServes() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    defer { network.remove() }
    let client = try await network.addClient()
    try await client.setDefaultKeepalive(Keepalive())
    let keepalives = try await KeepaliveCounter(on: client)
    defer { keepalives.stop() }

    let guest = try await Guest("serves", on: network, in: lab)
    let machine = try await BareMachine(guest, on: network, in: lab)
    try await guest.waitUntilUp(from: client)

    for address in guest.addresses.both {
      #expect(try await Pinger(from: client, to: address).ping(within: .seconds(2)) != nil)
      let http = try await HTTPConnection(from: client, to: address)
      let first = try await http.get()
      #expect(first.status == 200)
      #expect(String(decoding: first.body, as: UTF8.self).contains("awake"))
      // On the same connection.
      #expect(try await http.get("/absent").status == 404)
      try await EchoConnection(from: client, to: address).echo(Array("hello".utf8))
      #expect(
        try await client.echoDatagram([1, 2, 3], to: address, within: .seconds(5)) != nil)
    }

    let shell = try await SSHSession(
      from: client, to: guest.addresses.ipv4, image: guest.image,
      log: lab.directory + "/ssh-serves.log")
    #expect(try await shell.run("echo $((6 * 7)); hostname").output == "42\nguest")

    // The session is idle, so its keepalives flow: one a second.
    let before = keepalives.count()
    try await Task.sleep(for: .seconds(4))
    let after = keepalives.count()
    #expect(after.sent - before.sent >= 2)
    #expect(after.answered >= after.sent - after.open)
    #expect(try await shell.isOpen())

    // A guest that has failed units, or one that is never idle, would spoil what is built on it.
    #expect(try await shell.run("systemctl --failed --no-legend --plain").output == "")
    #expect(try await shell.run("systemctl list-timers --no-legend --plain").output == "")

    try await machine.stop()
    #expect(try await Pinger(from: client, to: guest.addresses.ipv4).ping() == nil)
  }

  @Test("A lost peer is reported, not waited for")
  func lostPeer() async throws {
    let lab = try Lab.current()
    let network = try await lab.makeNetwork()
    defer { network.remove() }
    let client = try await network.addClient()
    #expect(
      try await !client.canConnect(to: "10.77.\(network.number).1", port: 9, within: .seconds(1)))
    await #expect(throws: TestBedError.self) {
      try await EchoConnection(
        from: client, to: "10.77.\(network.number).77", within: .milliseconds(300))
    }
    #expect(
      try await client.echoDatagram(
        [1], to: "10.77.\(network.number).1", within: .milliseconds(300)) == nil)
  }

  @Test("A swap file comes and goes")
  func swapFile() async throws {
    let lab = try Lab.current()
    let swap = try await SwapFile(in: lab, megabytes: 8)
    try await swap.activate(priority: 1)
    #expect(try await Command.run("cat", "/proc/swaps").contains(swap.path))
    try await swap.deactivate()
    swap.remove()
    #expect(try await !Command.run("cat", "/proc/swaps").contains(swap.path))
  }

  @Test("A command that takes too long is killed, and says so")
  func deadline() async throws {
    let clock = ContinuousClock()
    let start = clock.now
    let error = await #expect(throws: TestBedError.self) {
      try await Command.run("sleep", "60", deadline: .milliseconds(200))
    }
    #expect(error?.code == .deadline)
    #expect(clock.now - start < .seconds(10))
  }
}
