import FoundationEssentials
import QMP
import Testing

@Suite struct JSONTextTests {
  static let readable: [(String, JSONValue)] = [
    ("null", nil), ("true", true), (" [ ] ", .array([])), ("{}", .object([:])), ("0", 0),
    ("-7", -7),
    ("9223372036854775807", .integer(.max)), ("18446744073709551615", .number(0x1p64)),
    ("1.5e2", 150.0), ("-0.25", -0.25), (#""a\"\\\/\b\f\n\r\té😀""#, "a\"\\/\u{8}\u{c}\n\r\té😀"),
    (#""\u00e9\uD83D\uDE00""#, "é😀"),
    (#"{"a":[1,{"b":null}],"c":"d"}"#, ["a": [1, ["b": nil]], "c": "d"]),
  ]

  @Test(arguments: readable)
  func reads(text: String, value: JSONValue) throws {
    #expect(try JSONValue(parsing: Array(text.utf8)) == value)
  }

  @Test(arguments: [
    "", " ", "nul", "truefalse", "01", "-", "1.", "1e", "+1", ".5", "1e999", "[1,]", "[1 2]", "[",
    "{\"a\"}", "{\"a\":1,}", "{a:1}", "{\"a\":1,\"a\":2}", "\"", "\"\\x\"", "\"\\u12\"",
    "\"\\uD800\"", "\"\\uD800\\u0041\"", "\"\\uDC00\"", "\"\t\"", "{} {}", "]", "\"\\u١٢٣٤\"",
  ])
  func refuses(text: String) {
    #expect(throws: QMPWireError.self) { try JSONValue(parsing: Array(text.utf8)) }
  }

  @Test func refusesWhatIsNotUnicode() {
    for bytes: [UInt8] in [
      [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0xEF, 0xBB, 0xBF],
    ] {
      #expect(throws: QMPWireError.self) { try JSONValue(parsing: bytes) }
    }
  }

  @Test func refusesDepthThatWouldOverflowAStack() {
    let deep = [UInt8](repeating: UInt8(ascii: "["), count: 500_000)
    #expect { try JSONValue(parsing: deep) } throws: { ($0 as? QMPWireError)?.code == .excessive }
    let allowed = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
    #expect(throws: Never.self) { try JSONValue(parsing: Array(allowed.utf8)) }
  }

  @Test func refusesMoreValuesThanAnyAnswerHas() {
    let many = "[" + String(repeating: "1,", count: 500_000) + "1]"
    #expect { try JSONValue(parsing: Array(many.utf8)) } throws: {
      ($0 as? QMPWireError)?.code == .excessive
    }
  }

  @Test func writesWhatItReads() throws {
    let value: JSONValue = [
      "text": "\u{1}\u{1f}\"\\é😀/", "list": [1, -2.5, nil, true], "object": ["k": [:]],
      "big": .integer(.min),
    ]
    #expect(try JSONValue(parsing: value.encoded()) == value)
    #expect(!value.encoded().contains(UInt8(ascii: "\n")))
  }

  @Test func writesNullForWhatJSONCannotSay() {
    #expect(JSONValue.number(.infinity).encoded() == Array("null".utf8))
  }

  @Test func isCodable() throws {
    let value: JSONValue = ["a": [1, 2.5, nil, true, "x"], "b": [:]]
    let data = try JSONEncoder().encode(value)
    #expect(try JSONDecoder().decode(JSONValue.self, from: data) == value)
  }

  /// Text made of JSON's own characters, at random but repeatably: it must be read or refused, and what
  /// is read must survive being written.
  @Test func survivesNonsense() {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    func random(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    let alphabet =
      Array("{}[]\",:\\u0123456789eE+-.truefalsn dD89\u{0}\n".utf8) + [0xFF, 0xC3, 0xA9]
    var read = 0
    for _ in 0..<100_000 {
      let text = (0..<random(12)).map { _ in alphabet[random(alphabet.count)] }
      guard let value = try? JSONValue(parsing: text) else { continue }
      read += 1
      #expect((try? JSONValue(parsing: value.encoded())) == value)
    }
    #expect(read > 100)
  }
}
