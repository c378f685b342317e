import API
import FoundationEssentials
import TestBed
import Testing

/// The host's rules in a file of the daemon's configuration. No guest is needed.
@Suite(.serialized, .timeLimit(.minutes(2)), .showsLogsOnFailure)
struct RulesFileTests {
  @Test("The file is read at the start and on SIGHUP, and one that is wrong changes nothing")
  func file() async throws {
    let path = try Lab.current().makeDirectory("rules") + "/rules"
    func write(_ text: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }
    try write("# monitoring\nfrom 10.0.0.5 tcp port 9100 ignore\n")
    try await withScene("unused", memoryMegabytes: nil, arguments: ["--rules", path]) { scene in
      let api = scene.api
      let first = try await api.rules(of: nil)
      #expect(first.rules == [try TrafficRule("from 10.0.0.5 tcp port 9100 ignore")])
      #expect(first.file == path)
      let error = await #expect(throws: APIError.self) {
        try await api.changeRules(of: nil, .set([]))
      }
      #expect(error?.code == .conflict && error?.advice?.contains("SIGHUP") == true)

      let pid = try #require(await scene.daemon.pid)
      let mark = try await scene.eventMark()
      try write("tcp port 9100 ignore\ntcp port x ignore\n")
      try await scene.network.host.run("kill", "-HUP", "\(pid)")
      let event = try await scene.event(
        .warning, code: "rulesInvalid", after: mark, within: .seconds(15))
      #expect(event.message.contains("line 2: column 10"))
      #expect(try await api.rules(of: nil) == first)

      try write("tcp refuse\n")
      try await scene.network.host.run("kill", "-HUP", "\(pid)")
      try await eventually("the new rules", within: .seconds(15)) {
        try await api.rules(of: nil).rules == [try TrafficRule("tcp refuse")] ? () : nil
      }

      // A daemon that would not do what was meant does not start.
      try await scene.daemon.stop()
      try write("tcp drop\n")
      let refused = try await scene.daemon.launch(arguments: ["--rules", path])
      try await refused.waitForExit(within: .seconds(15))
      let log = String(
        decoding: try Data(contentsOf: URL(filePath: scene.daemon.log)), as: UTF8.self)
      #expect(log.contains("line 1: column 5"))
    }
  }
}
