import QMP
import Testing

@Suite struct QMPMessageTests {
  private func parse(_ text: String) throws(QMPWireError) -> QMPMessage {
    try QMPMessage.parse(line: Array(text.utf8))
  }

  @Test func readsAGreeting() throws {
    let message = try parse(StubServer.greeting)
    #expect(
      message
        == .greeting(
          QMPGreeting(major: 10, minor: 0, micro: 2, package: "stub", oobCapable: true)))
  }

  @Test func readsReplies() throws {
    #expect(try parse(#"{"return":{"a":1},"id":7}"#) == .reply(id: 7, .success(["a": 1])))
    #expect(try parse(#"{"return":[]}"#) == .reply(id: nil, .success([])))
    #expect(try parse(#"{"return":{},"id":-1}"#) == .reply(id: nil, .success([:])))
    #expect(
      try parse(#"{"error":{"class":"CommandNotFound","desc":"no"},"id":3}"#)
        == .reply(id: 3, .failure(QMPFailure(errorClass: "CommandNotFound", description: "no"))))
  }

  @Test func readsEvents() throws {
    let text =
      #"{"timestamp":{"seconds":5,"microseconds":6},"event":"SHUTDOWN","data":{"guest":true}}"#
    #expect(
      try parse(text)
        == .event(
          QMPEvent(name: "SHUTDOWN", data: ["guest": true], seconds: 5, microseconds: 6)))
  }

  @Test(arguments: [
    "1", "[]", "{}", #"{"id":1}"#, #"{"QMP":{}}"#, #"{"event":1}"#, #"{"event":"STOP"}"#,
    #"{"error":{},"id":1}"#, #"{"error":"no","id":1}"#,
    #"{"QMP":{"version":{"qemu":{"major":1e9,"minor":0,"micro":0}}}}"#,
  ])
  func refusesWhatIsNoMessage(text: String) {
    #expect { try parse(text) } throws: { ($0 as? QMPWireError)?.code == .notAMessage }
  }

  @Test func writesCommands() {
    #expect(
      QMPCommand("stop", id: .max).encodedLine()
        == Array("{\"execute\":\"stop\",\"id\":18446744073709551615}\n".utf8))
    #expect(
      QMPCommand("x", arguments: ["a": "b\n"], id: 1).encodedLine()
        == Array("{\"arguments\":{\"a\":\"b\\u000a\"},\"execute\":\"x\",\"id\":1}\n".utf8))
  }
}

@Suite struct QMPLineFramerTests {
  private func lines(_ framer: inout QMPLineFramer) -> [String] {
    var lines: [String] = []
    while let line = framer.nextLine() { lines.append(String(decoding: line, as: UTF8.self)) }
    return lines
  }

  @Test func cutsLinesHoweverTheyArrive() throws {
    let text = Array("one\r\ntwo\n\n\r\nthree\nrest".utf8)
    for size in 1...text.count {
      var framer = QMPLineFramer()
      var found: [String] = []
      for start in stride(from: 0, to: text.count, by: size) {
        try framer.append(text[start..<min(start + size, text.count)])
        found += lines(&framer)
      }
      #expect(found == ["one", "two", "three"])
    }
  }

  @Test func voidsWhatIsBeforeTheMarkOfAGuestAgent() throws {
    var framer = QMPLineFramer()
    try framer.append(Array("half a li".utf8))
    #expect(lines(&framer) == [])
    try framer.append([0xFF, 0xFF] + Array("whole\n".utf8))
    #expect(lines(&framer) == ["whole"])
  }

  @Test func refusesLinesWithoutEnd() throws {
    var framer = QMPLineFramer(maximumLineLength: 10)
    try framer.append(Array("0123456789".utf8))
    #expect(throws: QMPWireError.self) { try framer.append([UInt8(ascii: "x")]) }
    #expect(throws: QMPWireError.self) { try framer.append([UInt8(ascii: "\n")]) }
    #expect(framer.nextLine() == nil)
  }

  @Test func refusesLongLinesThatArriveWhole() throws {
    var framer = QMPLineFramer(maximumLineLength: 3)
    #expect(throws: QMPWireError.self) { try framer.append(Array("ok\n1234\n".utf8)) }
  }
}
