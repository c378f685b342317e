import QMP

extension FuzzTarget {
  /// The text of monitors and agents, without a connection. Input: the size of the pieces it comes in,
  /// then the text.
  static let qmp = FuzzTarget("qmp", maximumLength: 4096) { input in
    var reader = InputReader(input)
    let size = Int(reader.byte()) + 1
    let text = reader.remainder()
    var whole = QMPLineFramer(maximumLineLength: maximumLineLength)
    var lines: [[UInt8]]?
    if (try? whole.append(text)) != nil {
      var all: [[UInt8]] = []
      while let line = whole.nextLine() { all.append(line) }
      lines = all
    }
    let pieces = try cut(text, into: size)
    if let lines { try demand(lines == pieces, "pieces of another size make other lines") }
    for line in pieces { try examine(line) }
  }

  private static let maximumLineLength = 1024

  /// The lines of a text that comes in pieces, up to the first failure.
  private static func cut(_ text: [UInt8], into size: Int) throws -> [[UInt8]] {
    var framer = QMPLineFramer(maximumLineLength: maximumLineLength)
    var lines: [[UInt8]] = []
    for start in stride(from: 0, to: text.count, by: size) {
      guard (try? framer.append(text[start..<min(start + size, text.count)])) != nil else { break }
      while let line = framer.nextLine() { lines.append(line) }
    }
    try demand(
      lines.allSatisfy { $0.count <= maximumLineLength && !$0.isEmpty && !$0.contains(0xFF) },
      "a line that is too long, empty or voided")
    return lines
  }

  private static func examine(_ line: [UInt8]) throws {
    guard let value = try? JSONValue(parsing: line) else {
      return try demand((try? QMPMessage.parse(line: line)) == nil, "a message that is no JSON")
    }
    try demand(depth(of: value) <= JSONValue.maximumDepth, "JSON that is nested too deep")
    let text = value.encoded()
    try demand(!text.contains { $0 < 0x20 }, "JSON text of more than one line")
    try demand((try? JSONValue(parsing: text)) == value, "JSON that changes when it is written")
    _ = try? QMPMessage.parse(line: line)
  }

  private static func depth(of value: JSONValue) -> Int {
    switch value {
    case .array(let elements): 1 + (elements.map(depth).max() ?? -1)
    case .object(let members): 1 + (members.values.map(depth).max() ?? -1)
    default: 0
    }
  }
}
