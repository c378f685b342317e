import API
import Commands
import Foundation
import Testing

@Suite("Commands", .timeLimit(.minutes(1)))
struct CommandsTests {
  private static let now = Date(timeIntervalSince1970: 1_767_225_600)

  private static let web = VirtualMachine(
    name: "web", state: .asleep, stateSince: now - 185, pid: 4711, memoryBytes: 512 << 20, cpus: 1,
    networks: [
      .init(
        bridge: "br0", macAddress: "52:54:00:12:34:56", tap: "dmt0a1b2c3d",
        addresses: ["10.0.0.2", "fd00::2"])
    ],
    machineType: "pc-q35-10.0", accelerator: "tcg", idleAfterSeconds: 60,
    sleep: SleepReport(
      since: now - 185, releasedBytes: 315_621_376, residentBytes: 1_048_576,
      swapBytes: 315_621_376, netGainBytes: 315_621_376, touchedBytes: 316_669_952,
      durationSeconds: 1.25),
    lastWake: WakeReport(
      at: now - 7200, reason: "payload", flow: "tcp 10.0.0.9:51234 > 10.0.0.2:22",
      firstFrameToContinueSeconds: 0.0031, continueSeconds: 0.0004, heldFrames: 1,
      totalSeconds: 0.0123, clockStepped: true, prefetchedBytes: 25_165_824),
    sleeps: 4, wakes: 1,
    lastFailure: .init(code: .refused, message: "swap\u{1b}[31m was full", at: now - 90_000),
    obstacles: ["swap is full"])

  private static let database = VirtualMachine(
    name: "database-1", state: .fallingAsleep, stateSince: now, memoryBytes: 3 << 29, cpus: 16)

  @Test("The list, as people see it")
  func list() throws {
    let text = try Output.render([Self.database, Self.web], as: .table, now: Self.now)
    #expect(
      text == """
        NAME        STATE           SINCE      CPUS  MEMORY   RELEASED  ADDRESSES
        database-1  falling asleep  now        16    1.5 GiB  -
        web         asleep          3 min ago  1     512 MiB  301 MiB   10.0.0.2 fd00::2
        """)
    #expect(
      try Output.render([Self.database, Self.web], as: .table, quiet: true) == "database-1\nweb")
    #expect(try Output.render([VirtualMachine](), as: .table, quiet: true) == "")
    #expect(
      try Output.render([VirtualMachine](), as: .table)
        == "NAME  STATE  SINCE  CPUS  MEMORY  RELEASED  ADDRESSES")
  }

  @Test("One machine, as people see it")
  func show() throws {
    #expect(
      try Output.render(Self.web, as: .table, now: Self.now) == """
        Name:          web
        State:         asleep, since 3 min ago
        Process:       4711
        Memory:        512 MiB
        CPUs:          1
        Machine:       pc-q35-10.0, tcg
        Network:       bridge br0, 52:54:00:12:34:56, tap dmt0a1b2c3d
        Addresses:     10.0.0.2 fd00::2
        Falls asleep:  after 1 min without activity
        Read back:     as needed
        So far:        slept 4 times, woken 1 time
        Released:      301 MiB of 302 MiB, in 1.3 s
        Now:           1 MiB resident, 301 MiB in swap, host gained 301 MiB
        Answered by:   sentry
        Last wake:     2 h ago, by payload (tcp 10.0.0.9:51234 > 10.0.0.2:22)
        It took:       3.1 ms from first frame to go-on, 400 µs to go on, 12.3 ms in all
        It did:        1 held frame delivered, 24 MiB read ahead, clock set
        Last failure:  25 h ago: swap?[31m was full
        Cannot sleep:  swap is full
        """)
  }

  @Test("JSON is what the API says, and is a list where there are many")
  func json() throws {
    let text = try Output.render([Self.web], as: .json, quiet: true, now: Self.now)
    let read = try APICoding.decoder().decode([VirtualMachine].self, from: Data(text.utf8))
    #expect(read == [Self.web])
    #expect(text.contains(#""stateSince" : "2025-12-31T23:56:55.000Z""#))
    let one = try Output.render(Self.web, as: .json)
    #expect(one.hasPrefix("{\n"))
    let empty = try Output.render([VirtualMachine](), as: .json)
    #expect(try APICoding.decoder().decode([VirtualMachine].self, from: Data(empty.utf8)) == [])
  }

  @Test("The host and its findings, as people see them")
  func host() async throws {
    let host = MemoryHost()
    #expect(
      try Output.render(await host.status(), as: .table, now: MemoryHost.moment) == """
        Daemon:            1.2.3, process 42, since now
        Sentry:            running, process 43
        Memory:            12 GiB available of 16 GiB
        Swap:              none
        Virtual machines:  none
        """)
    #expect(
      try Output.render(await host.doctor(), as: .table) == """
        swap:      FAILURE: there is no swap
          advice:  add a swap file
        qemu:      ok: QEMU 10.0.2
        """)
  }

  @Test("An event is one line, whatever it says")
  func eventLine() throws {
    let event = Event(
      sequence: 1, at: Self.now, virtualMachine: "web", kind: .asleep, message: "301 MiB\nreleased")
    #expect(
      try event.line(as: .table)
        == "2026-01-01T00:00:00.000Z  web           asleep           301 MiB?released")
    #expect(try !event.line(as: .json).contains("\n"))
  }

  @Test(
    "Sizes are read and written",
    arguments: [
      ("512M", 512 << 20, "512 MiB"), ("1.5G", 3 << 29, "1.5 GiB"), ("2gib", 2 << 30, "2 GiB"),
      ("1024k", 1 << 20, "1 MiB"), ("1023.99M", 1_073_731_338, "1 GiB"),
    ])
  func sizes(text: String, bytes: Int, written: String) throws {
    #expect(try Quantities.parse(bytes: text) == UInt64(bytes))
    #expect(Quantities.format(bytes: bytes) == written)
  }

  @Test("Small and negative sizes", arguments: [(0, "0 B"), (1023, "1023 B"), (-1536, "-1.5 KiB")])
  func smallSizes(bytes: Int, written: String) {
    #expect(Quantities.format(bytes: bytes) == written)
  }

  @Test(
    "Sizes that are none",
    arguments: ["512", "", "M", "-1G", "1e3M", "0x10M", "1 G", "1GB", "99999999999T", "1.2.3M"])
  func wrongSizes(text: String) {
    #expect(throws: APIError.self) { try Quantities.parse(bytes: text) }
  }

  @Test(
    "Durations are written",
    arguments: [
      (0.00025, "250 µs"), (0.0031, "3.1 ms"), (0.9999, "1 s"), (12.34, "12.3 s"), (59.99, "1 min"),
      (95, "1 min 35 s"), (7500, "2 h 5 min"), (86_400, "1 d"), (277_200, "3 d 5 h"),
    ])
  func durations(seconds: Double, written: String) {
    #expect(Quantities.format(seconds: seconds) == written)
  }

  @Test("Idle times are read")
  func idleTimes() throws {
    #expect(try Quantities.parse(idleTime: "60s") == 60)
    #expect(try Quantities.parse(idleTime: "5m") == 300)
    #expect(try Quantities.parse(idleTime: "1.5h") == 5400)
    #expect(try Quantities.parse(idleTime: "90") == 90)
    #expect(try Quantities.parse(idleTime: "never") == nil)
    for text in ["", "s", "-5s", "5 s", "5M", "0.5s", "0", "9999d", "inf", "nan"] {
      #expect(throws: APIError.self, "\(text)") { try Quantities.parse(idleTime: text) }
    }
  }

  @Test("Networks are read")
  func networks() throws {
    #expect(try CreateRequest.Network(option: "bridge=br0") == .init(bridge: "br0"))
    #expect(
      try CreateRequest.Network(option: "mac=52:54:00:00:00:01,bridge=br0")
        == .init(bridge: "br0", macAddress: "52:54:00:00:00:01"))
    for text in ["", "br0", "bridge=a,bridge=b", "mac=52:54:00:00:00:01", "bridge=a,tap=b", ","] {
      #expect(throws: APIError.self, "\(text)") { try CreateRequest.Network(option: text) }
    }
  }

  // MARK: The program itself

  /// The built program stands beside the tests.
  private func dormouse(_ arguments: [String], socket: String) async throws -> Outcome {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = URL(filePath: tests).deletingLastPathComponent().appending(path: "dormouse").path
    try #require(
      FileManager.default.isExecutableFile(atPath: program), "\(program) has not been built")
    return try await run([program] + arguments, environment: ["DORMOUSE_SOCKET": socket])
  }

  @Test("A session: words on standard output, complaints on standard error, statuses as told")
  func session() async throws {
    try await withTemporaryDirectory { directory in
      let socket = directory + "/sock"
      let noDaemon = try await dormouse(["list"], socket: socket)
      #expect(noDaemon.status == 69)
      #expect(noDaemon.output == "")
      #expect(noDaemon.complaint.contains("is dormoused running?"))

      try await withServer(MemoryHost(), socketPath: socket) { _ in
        let create = try await dormouse(
          [
            "create", "web", "--kernel", "vmlinuz", "--append", "quiet", "--memory", "512M",
            "--network", "bridge=br0,mac=52:54:00:00:00:09", "--idle-after", "never",
          ], socket: socket)
        #expect(create.status == 0)
        #expect(create.output.contains("web is created"))
        #expect(create.complaint == "")
        let start = try await dormouse(["start", "web"], socket: socket)
        #expect(start.output == "web is awake (process 4711)\n")
        let sleep = try await dormouse(["sleep", "web"], socket: socket)
        #expect(sleep.output == "web is asleep: 300 MiB released in 1.3 s\n")
        let again = try await dormouse(["sleep", "web"], socket: socket)
        #expect(again.status == 2)
        #expect(
          again.complaint
            == "dormouse: web is not awake\n  intact: it is as it was\n  advice: start it\n")
        let set = try await dormouse(["set", "web", "--idle-after", "5m"], socket: socket)
        #expect(set.output == "web falls asleep after 5 min without activity\n")
        let both = try await dormouse(
          ["set", "web", "--idle-after", "never", "--swap-in", "background"], socket: socket)
        #expect(
          both.output
            == "web falls asleep only by order and is read back as needed, then slowly in full "
            + "after a wake\n")
        #expect(try await dormouse(["set", "web"], socket: socket).status == 64)
        #expect(
          try await dormouse(["set", "web", "--swap-in", "eager"], socket: socket).status == 64)
        let wake = try await dormouse(["wake", "web", "--format", "json"], socket: socket)
        let woken = try APICoding.decoder().decode(
          VirtualMachine.self, from: Data(wake.output.utf8))
        #expect(woken.wakes == 1 && woken.state == .awake)
        #expect(try await dormouse(["ls", "-q"], socket: socket).output == "web\n")
        let events = try await dormouse(["events", "web", "--format", "json"], socket: socket)
        let event = try APICoding.decoder().decode(Event.self, from: Data(events.output.utf8))
        #expect(event.message == "created")
        #expect(try await dormouse(["doctor"], socket: socket).status == 1)
        #expect(try await dormouse(["status"], socket: socket).output.contains("1 awake"))
        #expect(try await dormouse(["stop", "web", "--force"], socket: socket).status == 0)
        #expect(try await dormouse(["rm", "web"], socket: socket).output == "web is deleted\n")
        #expect(try await dormouse(["show", "web"], socket: socket).status == 1)
        #expect(try await dormouse(["show"], socket: socket).status == 64)
        #expect(try await dormouse(["show", "WEB"], socket: socket).status == 64)
        let nothing = try await dormouse(["ls"], socket: socket)
        #expect(nothing.output.hasPrefix("NAME"))
      }
    }
  }

  @Test(
    "Completion scripts and the version come from the program", arguments: ["bash", "zsh", "fish"])
  func completion(shell: String) async throws {
    let script = try await dormouse(["--generate-completion-script", shell], socket: "/")
    #expect(script.status == 0)
    #expect(script.output.contains("idle-after"))
    let version = try await dormouse(["--version"], socket: "/")
    #expect(version.output == "\(DormouseVersion.current)\n")
  }
}
