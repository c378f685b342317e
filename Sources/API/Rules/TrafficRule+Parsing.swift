import Glibc

extension TrafficRule {
  /// What a rule looks like.
  public static let grammar =
    "[from ADDRESS[/LENGTH]|any] [tcp|udp|icmp|any] [port N[-M]] wake|ignore|refuse|defer[:SECONDSs]"

  /// The longest text that a rule can have, in bytes.
  private static let maximumBytes = 200

  /// Reads a rule such as `from 10.0.0.5 tcp port 9100 ignore`:
  ///
  /// ```
  /// rule     = [ "from" source ] [ protocol ] [ "port" ports ] verdict
  /// source   = "any" | address [ "/" bits ]       an IPv4 or IPv6 address, no bits beyond its length
  /// protocol = "tcp" | "udp" | "icmp" | "any"
  /// ports    = number [ "-" number ]              0 to 65535; not for icmp
  /// verdict  = "wake" | "ignore" | "refuse" | "defer" [ ":" number ( "s" | "m" | "h" ) ]
  /// ```
  ///
  /// - Throws: ``APIError`` `.invalid` that says what is wrong in which column, counted from 1.
  public init(_ text: String) throws(APIError) {
    guard text.utf8.count <= Self.maximumBytes else {
      throw APIError(
        .invalid, "a rule has at most \(Self.maximumBytes) bytes, not \(text.utf8.count)")
    }
    var words = RuleWords(text)
    var source: Source?
    if words.take("from") {
      let word = try words.next("an address, or any")
      if word.text != "any" { source = try Source(word) }
    }
    var transport = TransportProtocol.any
    if let word = words.first, let named = TransportProtocol(rawValue: word.text) {
      transport = named
      words.removeFirst()
    }
    var ports: ClosedRange<UInt16>?
    if let word = words.first, word.text == "port" {
      guard transport != .icmp else { throw word.wrong("icmp has no ports") }
      words.removeFirst()
      ports = try Self.ports(try words.next("a port, such as 80 or 8000-8099"))
    }
    let verdict = try Verdict(try words.next("wake, ignore, refuse or defer"))
    if let rest = words.first { throw rest.wrong("\"\(rest.text)\" comes after the rule's end") }
    self.init(source: source, transport: transport, ports: ports, verdict: verdict)
  }

  /// Reads a list: a rule per line; empty lines and what follows a `#` do not count.
  ///
  /// - Throws: ``APIError`` `.invalid` that says what is wrong in which line and column.
  public static func list(_ text: String) throws(APIError) -> [TrafficRule] {
    var rules: [TrafficRule] = []
    // Any line end, such as that of another system's editor.
    let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for (index, line) in lines.enumerated() {
      let line = line.prefix { $0 != "#" }
      guard line.contains(where: { !$0.isWhitespace }) else { continue }
      do {
        rules.append(try TrafficRule(String(line)))
      } catch {
        throw APIError(.invalid, "line \(index + 1): \(error.message)", advice: error.advice)
      }
    }
    try validate(rules)
    return rules
  }

  /// Checks a list as a whole.
  public static func validate(_ rules: [TrafficRule]) throws(APIError) {
    guard rules.count <= limit else {
      throw APIError(.invalid, "a list has at most \(limit) rules, not \(rules.count)")
    }
  }

  private static func ports(_ word: RuleWords.Word) throws(APIError) -> ClosedRange<UInt16> {
    let parts = word.text.split(separator: "-", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { RuleWords.number($0, atMost: 65535) }.map(UInt16.init)
    guard (1...2).contains(parts.count), numbers.count == parts.count else {
      throw word.wrong("\"\(word.text)\" is no port from 0 to 65535 and no range of such")
    }
    guard numbers[0] <= numbers[numbers.count - 1] else {
      throw word.wrong("the range \(word.text) is empty")
    }
    return numbers[0]...numbers[numbers.count - 1]
  }
}

extension TrafficRule.Verdict {
  /// The longest time that demand may be put off, in seconds.
  private static let maximumSeconds = 86400

  fileprivate init(_ word: RuleWords.Word) throws(APIError) {
    switch word.text {
    case "wake": self = .wake
    case "ignore": self = .ignore
    case "refuse": self = .refuse
    case "defer": self = .defer(wakeAfterSeconds: nil)
    default:
      let parts = word.text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, parts[0] == "defer" else {
        throw word.wrong("\"\(word.text)\" is none of wake, ignore, refuse and defer")
      }
      let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600]
      guard let factor = parts[1].last.flatMap({ units[$0] }),
        let number = RuleWords.number(parts[1].dropLast(), atMost: Self.maximumSeconds),
        (1...Self.maximumSeconds).contains(number * factor)
      else {
        throw word.wrong("\"\(parts[1])\" is no time from 1s to 24h, such as 60s or 5m")
      }
      self = .defer(wakeAfterSeconds: number * factor)
    }
  }
}

extension TrafficRule.Source: CustomStringConvertible {
  fileprivate init(_ word: RuleWords.Word) throws(APIError) {
    let parts = word.text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let isIPv6 = parts[0].contains(":")
    var bytes = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
    // A C string would end at a zero, and what follows it would go unseen.
    guard !parts[0].utf8.contains(0),
      inet_pton(isIPv6 ? AF_INET6 : AF_INET, String(parts[0]), &bytes) == 1
    else {
      throw word.wrong("\"\(parts[0])\" is no IPv4 or IPv6 address")
    }
    var length = bytes.count * 8
    if parts.count == 2 {
      guard let number = RuleWords.number(parts[1], atMost: length) else {
        throw word.wrong("the length of \(word.text) is no number from 0 to \(length)")
      }
      length = number
    }
    var masked = bytes
    for index in masked.indices {
      let bits = min(max(length - 8 * index, 0), 8)
      masked[index] &= ~(UInt8(truncatingIfNeeded: 0xff >> bits))
    }
    self.init(bytes: masked, prefixLength: length)
    guard masked == bytes else {
      throw word.wrong("\(word.text) has bits beyond its length; say \(self)")
    }
  }

  /// As in `10.0.0.0/8`, `10.0.0.5` or `fd00::/8`.
  public var description: String {
    // INET6_ADDRSTRLEN
    var text = [CChar](repeating: 0, count: 46)
    let family = bytes.count == 16 ? AF_INET6 : AF_INET
    guard inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return "?" }
    let address = String(
      decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return prefixLength == bytes.count * 8 ? address : "\(address)/\(prefixLength)"
  }
}

/// The words of a rule, with their places.
private struct RuleWords {
  struct Word {
    let text: String
    /// From 1.
    let column: Int

    func wrong(_ what: String) -> APIError {
      APIError(.invalid, "column \(column): \(what)", advice: "a rule is " + TrafficRule.grammar)
    }
  }

  private var words: ArraySlice<Word>
  private let end: Int

  init(_ text: String) {
    var words: [Word] = []
    var current = ""
    var column = 0
    for character in text {
      column += 1
      if character.isWhitespace {
        if !current.isEmpty { words.append(Word(text: current, column: column - current.count)) }
        current = ""
      } else {
        current.append(character)
      }
    }
    if !current.isEmpty { words.append(Word(text: current, column: column + 1 - current.count)) }
    self.words = words[...]
    end = column + 1
  }

  var first: Word? { words.first }

  mutating func removeFirst() { words.removeFirst() }

  /// Takes a word if it comes next.
  mutating func take(_ text: String) -> Bool {
    guard words.first?.text == text else { return false }
    words.removeFirst()
    return true
  }

  mutating func next(_ expected: String) throws(APIError) -> Word {
    guard let word = words.popFirst() else {
      throw Word(text: "", column: end).wrong("the rule ends where there should be \(expected)")
    }
    return word
  }

  /// A number of decimal digits only.
  static func number(_ text: Substring, atMost limit: Int) -> Int? {
    guard (1...6).contains(text.utf8.count),
      text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let number = Int(text), number <= limit
    else { return nil }
    return number
  }
}
