import API
import FoundationEssentials

extension FuzzTarget {
  /// The rules of people, of programs and of the host's file. Input: which, then the text.
  static let rules = FuzzTarget("rules", maximumLength: 1024) { input in
    var reader = InputReader(input)
    let choice = reader.byte()
    let bytes = reader.remainder()
    let text = String(decoding: bytes, as: UTF8.self)
    switch choice % 3 {
    case 0:
      if let rule = try? TrafficRule(text) { try check(rule) }
    case 1:
      guard let rules = try? TrafficRule.list(text) else { return }
      try demand(rules.count <= TrafficRule.limit, "a list that is too long")
      for rule in rules { try check(rule) }
      try demand(
        try TrafficRule.list(rules.map(\.description).joined(separator: "\n")) == rules,
        "a list that changes when it is written")
    default:
      let decoder = APICoding.decoder()
      if let list = try? decoder.decode(RuleList.self, from: Data(bytes)) {
        for rule in list.rules { try check(rule) }
      }
      guard let request = try? decoder.decode(AddRuleRequest.self, from: Data(bytes)) else {
        return
      }
      try check(request.rule)
      let rules = [TrafficRule(verdict: .wake), TrafficRule(verdict: .ignore)]
      let added = try? RuleChange.add(request.rule, at: request.number).applied(to: rules)
      try demand(added.map { $0.count == 3 } ?? true, "a rule is added, and there are not more")
      if let number = request.number {
        _ = try? RuleChange.remove(number).applied(to: rules)
      }
    }
  }

  /// A rule is what it says, and within the bounds of what can be matched.
  private static func check(_ rule: TrafficRule) throws {
    try demand(try TrafficRule(rule.description) == rule, "a rule that changes when it is written")
    if let source = rule.source {
      let bits = source.bytes.count * 8
      try demand(
        (bits == 32 || bits == 128) && (0...bits).contains(source.prefixLength), "a broken source")
      let beyond = (source.prefixLength..<bits).contains { bit in
        source.bytes[bit / 8] & 0x80 >> UInt8(bit % 8) != 0
      }
      try demand(!beyond, "a source with bits beyond its length")
    }
    try demand(rule.transport != .icmp || rule.ports == nil, "ICMP with ports")
    if case .defer(let seconds?) = rule.verdict {
      try demand((1...86400).contains(seconds), "a time out of bounds")
    }
  }
}
