import API
import FoundationEssentials
import Glibc
import TestBed
import Testing

/// One guest is saved, and others continue where it was. One boot for all tests.
@Suite(.serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure, .scene("original"))
struct TemplateTests {
  let scene: Scene

  init() throws { scene = try Scene.current() }

  /// Where the tests keep the template that ``diesWhileEnding()`` makes.
  private var template: String { scene.lab.directory + "/template" }

  @Test("1: Without room for it nothing is saved, and the machine runs on")
  func noRoom() async throws {
    let directory = try scene.lab.makeDirectory("small")
    try await Command.run("mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", directory)
    let error = await #expect(throws: APIError.self) {
      _ = try await scene.api.save(scene.name, to: SaveRequest(directory: directory + "/template"))
    }
    #expect(error?.code == .refused)
    #expect(error?.message.contains("MiB free") == true)
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    try await Command.run("umount", directory)
    let taken = await #expect(throws: APIError.self) {
      _ = try await scene.api.save(scene.name, to: SaveRequest(directory: scene.lab.directory))
    }
    #expect(taken?.code == .invalid)
    try await scene.expectReachable()
  }

  @Test("2: A file system that fills up while the state is written costs nothing but the template")
  func fillsUp() async throws {
    let directory = try scene.lab.makeDirectory("filling")
    try await Command.run("mount", "-t", "tmpfs", "-o", "size=600M", "tmpfs", directory)
    try await scene.daemon.stop()
    try await scene.daemon.start(environment: ["DORMOUSE_FAILPOINTS": "save.saving=halt"])
    let daemon = try #require(await scene.daemon.pid)
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8))
    let saving = Task {
      try await scene.api.save(scene.name, to: SaveRequest(directory: directory + "/template"))
    }
    defer { kill(daemon, SIGCONT) }
    try await eventually("the daemon to halt", within: .seconds(10), every: .milliseconds(5)) {
      try isHalted(daemon) ? () : nil
    }
    // Somebody else takes the room that the preflight has seen.
    try await Command.run("fallocate", "-l", "560M", directory + "/other")
    kill(daemon, SIGCONT)
    let error = await #expect(throws: APIError.self) { _ = try await saving.value }
    #expect(error?.code == .unavailable, "\(error?.message ?? "")")
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["other"])
    try await Command.run("umount", directory)
    try await scene.expectReachable()
    try await echo.echo(Array("after".utf8))
    #expect(try await scene.machine().lastFailure?.code.rawValue == "saveFailed")
  }

  @Test("3: A daemon that dies while it saves leaves a machine that runs, and no template")
  func diesWhileSaving() async throws {
    let echo = try await EchoConnection(
      from: scene.client, to: scene.guest.addresses.ipv6, keepalive: nil)
    try await echo.echo(Array("before".utf8))
    try await dieSaving(at: "save.written")
    try await scene.expectReachable()
    try await echo.echo(Array("after".utf8))
    #expect(!FileManager.default.fileExists(atPath: template))
    // And it can sleep as ever.
    _ = try await scene.sleep()
    try await echo.echo(Array("woken".utf8))
  }

  /// Later tests use what it leaves.
  @Test("4: A daemon that dies when the state is safe leaves a template and a stopped machine")
  func diesWhileEnding() async throws {
    let mark = try await scene.eventMark()
    try await dieSaving(at: "save.ending")
    try await scene.event(.saved, after: mark, within: .seconds(10))
    try await scene.wait(for: .stopped)
    let names = try FileManager.default.contentsOfDirectory(atPath: template).sorted()
    #expect(names == ["initrd", "kernel", "state", "template.json"])
    var status = stat()
    #expect(stat(template, &status) == 0 && status.st_mode & 0o777 == 0o700)
    #expect(try await scene.taps().isEmpty)
  }

  @Test("5: What does not fit is refused with its reason, and the machine stays stopped")
  func misfits() async throws {
    let island = try await scene.network.addIsland()
    let guest = try await Guest("misfit", like: scene.guest, in: scene.lab)
    let copy = scene.lab.directory + "/copy"
    try await Command.run("cp", "-a", "--sparse=always", template, copy)

    func refusal(_ words: String, _ change: () async throws -> Void) async throws {
      try await change()
      let error = await #expect(throws: APIError.self) {
        try await scene.daemon.create(guest, from: copy, on: island)
      }
      #expect(error?.code == .refused)
      #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
      try await Command.run("cp", template + "/template.json", copy)
    }
    let json = copy + "/template.json"
    try await refusal("saved by QEMU 9.") {
      try await Command.run("sed", "-i", "s/\"major\" : 10/\"major\" : 9/", json)
    }
    try await refusal("the format 7") {
      try await Command.run("sed", "-i", "s/\"format\" : 1/\"format\" : 7/", json)
    }
    try await refusal("is damaged") {
      try await Command.run("sed", "-i", "/cpuModel/d", json)
    }
    try await refusal("its state has") {
      try await Command.run("truncate", "-s", "-4096", copy + "/state")
    }
    try await refusal("no template") { try await Command.run("rm", json) }

    // Its length is right, and yet it is no state.
    let size = try await Command.run("stat", "-c", "%s", template + "/state")
      .filter(\.isNumber)
    try await Command.run("truncate", "-s", "0", copy + "/state")
    try await Command.run("truncate", "-s", size, copy + "/state")
    try await scene.daemon.create(guest, from: copy, on: island)
    let error = await #expect(throws: APIError.self) { try await scene.api.start(guest.name) }
    #expect(error?.code == .refused)
    let machine = try await scene.api.show(guest.name)
    #expect(machine.state == .stopped)
    #expect(machine.lastFailure?.code.rawValue == "templateDamaged")
    #expect(machine.template == copy)
    try await scene.api.delete(guest.name)
  }

  @Test("6: Three continue from one template, sleep, and wake in one storm with their connections")
  func storm() async throws {
    let places = try await (1...3).asyncMap { number in
      (
        try await Guest("copy\(number)", like: scene.guest, in: scene.lab),
        try await scene.network.addIsland()
      )
    }
    for (guest, island) in places {
      let created = try await scene.daemon.create(guest, from: template, on: island)
      #expect(created.template == template)
      #expect(created.memoryBytes == 512 << 20)
      #expect(created.networks.first?.macAddress == scene.guest.addresses.macAddress)
    }
    let sameBridge = await #expect(throws: APIError.self) {
      let other = try await Guest("other", like: scene.guest, in: scene.lab)
      try await scene.daemon.create(other, from: template, on: places[0].1)
    }
    #expect(sameBridge?.code == .conflict)

    // The first start of the first one is cut short; it begins anew.
    try await scene.daemon.kill()
    try await scene.daemon.start(environment: ["DORMOUSE_FAILPOINTS": "start.launched=kill"])
    _ = try? await scene.api.start("copy1")
    try await scene.daemon.waitForExit(within: .seconds(10))
    try await scene.daemon.start()
    let cut = try await scene.api.show("copy1")
    #expect(cut.state == .stopped)
    #expect(cut.template == template)

    var connections: [EchoConnection] = []
    for (guest, island) in places {
      let started = try await scene.api.start(guest.name)
      #expect(started.state == .awake)
      #expect(started.template == nil)
      for address in guest.addresses.both {
        let echo = try await EchoConnection(
          from: island.client, to: address, within: .seconds(20))
        try await echo.echo(Array("continued".utf8), within: .seconds(20))
        connections.append(echo)
      }
      try await eventually("\(guest.name) to know the time", within: .seconds(15)) {
        let text = try await guest.run("date +%s", from: island.client).filter(\.isNumber)
        let seconds = Double(text) ?? 0
        return abs(seconds - Date().timeIntervalSince1970) < 3 ? () : nil
      }
    }
    for (guest, _) in places { try await sleepWhenQuiet(scene.api, guest.name) }
    let clock = ContinuousClock()
    try await Task.sleep(for: .seconds(2))
    for (guest, _) in places {
      #expect(try await scene.api.show(guest.name).state == .asleep)
    }
    let start = clock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for connection in connections {
        group.addTask { try await connection.echo(Array("storm".utf8), within: .seconds(20)) }
      }
      try await group.waitForAll()
    }
    print("three machines awake \((clock.now - start).inSeconds) s after the storm began")
    for (guest, _) in places {
      let machine = try await waitForState(scene.api, guest.name, .awake, within: .seconds(5))
      #expect(machine.wakes == 1)
    }

    // What came from a template can be one.
    let second = scene.lab.directory + "/second"
    let saved = try await scene.api.save("copy1", to: SaveRequest(directory: second))
    #expect(saved.state == .stopped)
    #expect(FileManager.default.fileExists(atPath: second + "/template.json"))
  }

  /// Lets the daemon die while it saves the scene's guest, and starts another one.
  private func dieSaving(at failpoint: String) async throws {
    try await scene.daemon.kill()
    try await scene.daemon.start(environment: ["DORMOUSE_FAILPOINTS": failpoint + "=kill"])
    try await scene.wait(for: .awake)
    await #expect(throws: (any Error).self) {
      try await scene.api.save(scene.name, to: SaveRequest(directory: template))
    }
    try await scene.daemon.waitForExit(within: .seconds(10))
    try await scene.daemon.start()
  }
}

extension Sequence {
  fileprivate func asyncMap<Value>(_ body: (Element) async throws -> Value) async throws
    -> [Value]
  {
    var values: [Value] = []
    for element in self { values.append(try await body(element)) }
    return values
  }
}
