import API
import Client
import Commands
import Daemon
import Foundation
import Testing

@Suite("Rules", .timeLimit(.minutes(1)))
struct TrafficRuleTests {
  @Test(
    "Every spelling has one form, which reads the same",
    arguments: [
      ("from 10.0.0.5 tcp port 9100 ignore", "from 10.0.0.5 tcp port 9100 ignore"),
      ("  from any\tany wake ", "wake"),
      ("from 10.0.0.5/32 defer", "from 10.0.0.5 defer"),
      ("from 0.0.0.0/0 refuse", "from 0.0.0.0/0 refuse"),
      ("from FD00:0::/8 udp port 0-65535 refuse", "from fd00::/8 udp port 0-65535 refuse"),
      ("port 80-80 defer:5m", "port 80 defer:300s"),
      ("icmp defer:24h", "icmp defer:86400s"),
      ("from ::1/128 tcp port 00022 ignore", "from ::1 tcp port 22 ignore"),
    ])
  func forms(text: String, form: String) throws {
    let rule = try TrafficRule(text)
    #expect(rule.description == form)
    #expect(try TrafficRule(form) == rule)
    let json = try APICoding.encoder().encode([rule])
    #expect(try APICoding.decoder().decode([TrafficRule].self, from: json) == [rule])
  }

  @Test(
    "What is wrong is told with its place",
    arguments: [
      ("", "column 1", "ends"), ("from", "column 5", "address"),
      ("from 10.0.0.300 ignore", "column 6", "10.0.0.300"),
      ("from 10.0.0.5/8 ignore", "column 6", "say 10.0.0.0/8"),
      ("from 10.0.0.0/33 ignore", "column 6", "0 to 32"),
      ("from fd00::/129 ignore", "column 6", "0 to 128"),
      ("from 10.0.0.0/ ignore", "column 6", "length"),
      ("from 10.0.0.1\u{0}x ignore", "column 6", "address"),
      ("from fe80::1%eth0 ignore", "column 6", "address"),
      ("tcp port http ignore", "column 10", "http"),
      ("tcp port 65536 ignore", "column 10", "65536"),
      ("tcp port 9-1 ignore", "column 10", "empty"),
      ("tcp port 1-2-3 ignore", "column 10", "1-2-3"),
      ("tcp port -1 ignore", "column 10", "-1"), ("tcp port +1 ignore", "column 10", "+1"),
      ("icmp port 1 ignore", "column 6", "icmp has no ports"), ("tcp port 1", "column 11", "ends"),
      ("tcp  drop", "column 6", "drop"), ("defer:0s", "column 1", "0s"),
      ("defer:25h", "column 1", "25h"), ("defer:60", "column 1", "60"),
      ("defer:", "column 1", "no time"), ("wake:1s", "column 1", "wake:1s"),
      ("tcp ignore now", "column 12", "now"), ("ignore from any", "column 8", "from"),
    ])
  func errors(text: String, place: String, word: String) {
    let error = #expect(throws: APIError.self) { try TrafficRule(text) }
    #expect(error?.code == .invalid)
    #expect(error?.message.hasPrefix(place + ":") == true, "\(error?.message ?? "")")
    #expect(error?.message.contains(word) == true, "\(error?.message ?? "")")
  }

  @Test("A file is lines, with comments and empty ones, and a bound")
  func files() throws {
    let text = """
      # the monitoring
      from 10.0.0.5 tcp port 9100 ignore  # node exporter

      udp refuse\r
      """
    #expect(
      try TrafficRule.list(text).map(\.description) == [
        "from 10.0.0.5 tcp port 9100 ignore", "udp refuse",
      ])
    let error = #expect(throws: APIError.self) { try TrafficRule.list(text + "\ntcp\n") }
    #expect(error?.message.hasPrefix("line 5: column 4:") == true, "\(error?.message ?? "")")
    let many = [String](repeating: "ignore", count: 65).joined(separator: "\n")
    #expect(throws: APIError.self) { try TrafficRule.list(many) }
    #expect(throws: APIError.self) { try TrafficRule(String(repeating: " ", count: 300) + "wake") }
  }

  @Test("Any text is either a rule or an error")
  func mutations() throws {
    var generator = SystemRandomNumberGenerator()
    let words = [
      "from", "any", "tcp", "port", "defer", ":", "60s", "/", "10.0.0.0", "fd00::", "-", " ",
      "wake",
      "\u{301}", "é", "\u{0}", "65535",
    ]
    for _ in 0..<5000 {
      let text = (0..<Int.random(in: 0..<9, using: &generator))
        .map { _ in words.randomElement(using: &generator) ?? "" }.joined()
      guard let rule = try? TrafficRule(text) else { continue }
      #expect(try TrafficRule(rule.description) == rule)
    }
  }

  @Test("Changes count from 1 and stay in bounds")
  func changes() throws {
    let (a, b, c) = (
      try TrafficRule("tcp ignore"), try TrafficRule("udp ignore"), try TrafficRule("icmp ignore")
    )
    #expect(try RuleChange.add(c).applied(to: [a, b]) == [a, b, c])
    #expect(try RuleChange.add(c, at: 1).applied(to: [a, b]) == [c, a, b])
    #expect(try RuleChange.remove(2).applied(to: [a, b]) == [a])
    #expect(try RuleChange.set([]).applied(to: [a, b]) == [])
    for change in [
      RuleChange.remove(0), .remove(3), .remove(.min), .remove(.max), .add(c, at: 0),
      .add(c, at: 4),
      .add(c, at: .min), .add(c, at: .max),
    ] {
      #expect(throws: APIError.self) { try change.applied(to: [a, b]) }
    }
    let full = [TrafficRule](repeating: a, count: TrafficRule.limit)
    #expect(throws: APIError.self) { try RuleChange.add(c).applied(to: full) }
  }

  @Test("Rules of a VM and of the host are asked for and changed over HTTP")
  func service() async throws {
    try await withTemporaryDirectory { directory in
      try await withServer(MemoryHost(), socketPath: directory + "/sock") { server in
        let client = server.client
        _ = try await client.create(
          CreateRequest(name: "web", memoryBytes: 64 << 20, cpus: 1, image: "/image"))
        let rule = try TrafficRule("from 10.0.0.5 tcp port 9100 ignore")
        for owner in ["web", nil] {
          #expect(try await client.rules(of: owner).rules == [])
          _ = try await client.changeRules(of: owner, .set([rule, rule]))
          let wake = TrafficRule(verdict: .wake)
          #expect(
            try await client.changeRules(of: owner, .add(wake, at: 2)).rules == [rule, wake, rule])
          #expect(try await client.changeRules(of: owner, .remove(3)).rules == [rule, wake])
          let error = await #expect(throws: APIError.self) {
            try await client.changeRules(of: owner, .remove(9))
          }
          #expect(error?.code == .notFound)
        }
        let unknown = await #expect(throws: APIError.self) { try await client.rules(of: "nobody") }
        #expect(unknown?.code == .notFound)
      }
    }
  }

  @Test("Rules, as people see them")
  func display() throws {
    let list = RuleList(
      rules: [try TrafficRule("tcp ignore"), try TrafficRule("wake")], file: "/r")
    #expect(
      try Output.render(list, as: .table) == """
        1:     tcp ignore
        2:     wake
        File:  /r
        """)
    #expect(try Output.render(RuleList(rules: []), as: .table) == "Rules:  none")
    let json = try Output.render(list, as: .json)
    #expect(try APICoding.decoder().decode(RuleList.self, from: Data(json.utf8)) == list)
    #expect(json.contains(#""tcp ignore""#))
  }
}
