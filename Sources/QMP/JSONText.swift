/// Reading and writing of JSON text (RFC 8259).
///
/// Written here and not taken from Foundation for two reasons: the peer may be hostile, so depth and
/// number of values are bounded while reading (a decoder that recurses without a bound can be made to
/// overflow its stack); and a small process that only says `cont` should not carry Foundation for it.
extension JSONValue {
  /// No answer of QEMU's is nested half as deep.
  public static let maximumDepth = 64

  /// `query-machines`, `query-cpu-definitions` and the like have some thousand values. The bound keeps
  /// what a line of 1 MiB can make us allocate to a few times its size.
  public static let maximumValues = 1 << 17

  /// Reads exactly one value, with white space around it.
  ///
  /// Object members must be unique and strings valid Unicode, as QEMU's own parser demands.
  public init(parsing text: [UInt8]) throws(QMPWireError) {
    var reader = JSONReader(text: text)
    self = try reader.document()
  }

  /// JSON text on one line, object members in order of their names. Numbers that JSON cannot express
  /// (infinities, not-a-number) are written as `null`.
  public func encoded() -> [UInt8] {
    var text: [UInt8] = []
    write(to: &text)
    return text
  }

  private func write(to text: inout [UInt8]) {
    switch self {
    case .null:
      text.append(contentsOf: "null".utf8)
    case .bool(let value):
      text.append(contentsOf: (value ? "true" : "false").utf8)
    case .integer(let value):
      text.append(contentsOf: String(value).utf8)
    case .number(let value):
      text.append(contentsOf: (value.isFinite ? String(value) : "null").utf8)
    case .string(let value):
      JSONValue.write(value, to: &text)
    case .array(let elements):
      text.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { text.append(UInt8(ascii: ",")) }
        element.write(to: &text)
      }
      text.append(UInt8(ascii: "]"))
    case .object(let members):
      text.append(UInt8(ascii: "{"))
      for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
        if index > 0 { text.append(UInt8(ascii: ",")) }
        JSONValue.write(member.key, to: &text)
        text.append(UInt8(ascii: ":"))
        member.value.write(to: &text)
      }
      text.append(UInt8(ascii: "}"))
    }
  }

  private static func write(_ string: String, to text: inout [UInt8]) {
    text.append(UInt8(ascii: "\""))
    for byte in string.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        text.append(UInt8(ascii: "\\"))
        text.append(byte)
      case 0..<0x20:
        let digits = String(byte, radix: 16)
        text.append(contentsOf: (digits.count == 1 ? "\\u000" : "\\u00").utf8)
        text.append(contentsOf: digits.utf8)
      default:
        text.append(byte)
      }
    }
    text.append(UInt8(ascii: "\""))
  }
}

private struct JSONReader {
  let text: [UInt8]
  var position = 0
  var values = 0

  init(text: [UInt8]) {
    self.text = text
  }

  mutating func document() throws(QMPWireError) -> JSONValue {
    let value = try self.value(depth: 0)
    skipWhiteSpace()
    if position < text.count { throw malformed("there is more after the value") }
    return value
  }

  private mutating func value(depth: Int) throws(QMPWireError) -> JSONValue {
    values += 1
    if values > JSONValue.maximumValues {
      throw QMPWireError(.excessive, "JSON of more than \(JSONValue.maximumValues) values")
    }
    if depth > JSONValue.maximumDepth {
      throw QMPWireError(.excessive, "JSON nested deeper than \(JSONValue.maximumDepth) levels")
    }
    skipWhiteSpace()
    switch peek() {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func object(depth: Int) throws(QMPWireError) -> JSONValue {
    position += 1
    var members: [String: JSONValue] = [:]
    skipWhiteSpace()
    if take(UInt8(ascii: "}")) { return .object(members) }
    repeat {
      skipWhiteSpace()
      guard peek() == UInt8(ascii: "\"") else { throw malformed("a member's name is expected") }
      let name = try string()
      skipWhiteSpace()
      guard take(UInt8(ascii: ":")) else { throw malformed("a colon is expected") }
      let value = try self.value(depth: depth + 1)
      if members.updateValue(value, forKey: name) != nil {
        throw malformed("a member's name occurs twice")
      }
      skipWhiteSpace()
    } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "}")) else { throw malformed("the end of an object is expected") }
    return .object(members)
  }

  private mutating func array(depth: Int) throws(QMPWireError) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    skipWhiteSpace()
    if take(UInt8(ascii: "]")) { return .array(elements) }
    repeat {
      elements.append(try value(depth: depth + 1))
      skipWhiteSpace()
    } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "]")) else { throw malformed("the end of an array is expected") }
    return .array(elements)
  }

  private mutating func word(
    _ word: String, _ value: JSONValue
  ) throws(QMPWireError) -> JSONValue {
    let end = position + word.utf8.count
    guard end <= text.count, text[position..<end].elementsEqual(word.utf8) else {
      throw malformed("an unknown word")
    }
    position = end
    return value
  }

  private mutating func number() throws(QMPWireError) -> JSONValue {
    let start = position
    _ = take(UInt8(ascii: "-"))
    let firstDigit = position
    guard skipDigits() else { throw malformed("a value is expected") }
    if text[firstDigit] == UInt8(ascii: "0"), position > firstDigit + 1 {
      throw malformed("a number starts with a needless zero")
    }
    var isWhole = true
    if take(UInt8(ascii: ".")) {
      isWhole = false
      guard skipDigits() else { throw malformed("a digit is expected after the point") }
    }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      isWhole = false
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      guard skipDigits() else { throw malformed("a digit is expected in the exponent") }
    }
    // Longer than any number that means something, and cheap to refuse before converting it.
    guard position - start <= 400 else { throw malformed("a number of too many digits") }
    let digits = String(decoding: text[start..<position], as: UTF8.self)
    if isWhole, let value = Int64(digits) { return .integer(value) }
    guard let value = Double(digits), value.isFinite else {
      throw malformed("a number out of range")
    }
    return .number(value)
  }

  private mutating func string() throws(QMPWireError) -> String {
    position += 1
    var bytes: [UInt8] = []
    while true {
      let start = position
      while position < text.count, text[position] != UInt8(ascii: "\""),
        text[position] != UInt8(ascii: "\\"), text[position] >= 0x20
      { position += 1 }
      bytes.append(contentsOf: text[start..<position])
      switch peek() {
      case UInt8(ascii: "\""):
        position += 1
        guard let string = String(validating: bytes, as: UTF8.self) else {
          throw malformed("a string that is not UTF-8")
        }
        return string
      case UInt8(ascii: "\\"):
        position += 1
        bytes.append(contentsOf: String(Character(try escapedScalar())).utf8)
      case nil:
        throw malformed("a string without end")
      default:
        throw malformed("a control character in a string")
      }
    }
  }

  private mutating func escapedScalar() throws(QMPWireError) -> Unicode.Scalar {
    let escape = peek()
    position += 1
    switch escape {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      var value = try fourHexDigits()
      if (0xD800..<0xDC00).contains(value) {
        guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
          throw malformed("half of a surrogate pair")
        }
        let low = try fourHexDigits()
        guard (0xDC00..<0xE000).contains(low) else { throw malformed("half of a surrogate pair") }
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(value) else { throw malformed("half of a surrogate pair") }
      return scalar
    default:
      throw malformed("an unknown escape in a string")
    }
  }

  private mutating func fourHexDigits() throws(QMPWireError) -> UInt32 {
    guard position + 4 <= text.count else { throw malformed("four hexadecimal digits expected") }
    var value: UInt32 = 0
    for byte in text[position..<position + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw malformed("four hexadecimal digits expected")
      }
      value = value << 4 | UInt32(digit)
    }
    position += 4
    return value
  }

  private func peek() -> UInt8? {
    position < text.count ? text[position] : nil
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard peek() == byte else { return false }
    position += 1
    return true
  }

  private mutating func skipDigits() -> Bool {
    let start = position
    while let byte = peek(), byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
    return position > start
  }

  private mutating func skipWhiteSpace() {
    while let byte = peek(), byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
      position += 1
    }
  }

  private func malformed(_ what: String) -> QMPWireError {
    QMPWireError(.malformed, "malformed JSON at byte \(position): \(what)")
  }
}
