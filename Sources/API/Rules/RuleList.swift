/// The rules of a VM, or those of the host, which hold for each VM after its own.
public struct RuleList: Codable, Sendable, Hashable {
  /// In the order in which they are tried.
  public var rules: [TrafficRule]
  /// The file that the host's rules come from, and that alone changes them; absent: they are changed by
  /// order.
  public var file: String?

  /// A list from its parts.
  public init(rules: [TrafficRule], file: String? = nil) {
    self.rules = rules
    self.file = file
  }
}

/// A change of a list of rules.
public enum RuleChange: Sendable, Hashable {
  /// Takes the place of all that there are.
  case set([TrafficRule])
  /// Comes last, or as the one with this number, counted from 1.
  case add(TrafficRule, at: Int? = nil)
  /// Takes away the one with this number, counted from 1.
  case remove(Int)

  /// The list as it is after the change.
  ///
  /// - Throws: ``APIError`` `.notFound` when there is no rule with the number, `.invalid` when the list
  ///   would be too long.
  public func applied(to rules: [TrafficRule]) throws(APIError) -> [TrafficRule] {
    var result = rules
    switch self {
    case .set(let new): result = new
    case .add(let rule, let number):
      let place = number ?? rules.count + 1
      guard (1...rules.count + 1).contains(place) else {
        throw APIError(
          .invalid, "a new rule cannot be number \(place); there are \(rules.count) rules")
      }
      result.insert(rule, at: place - 1)
    case .remove(let number):
      guard number >= 1, number <= rules.count else {
        throw APIError(.notFound, "there is no rule \(number); there are \(rules.count)")
      }
      result.remove(at: number - 1)
    }
    try TrafficRule.validate(result)
    return result
  }
}

/// The body of `POST …/rules`.
public struct AddRuleRequest: Codable, Sendable, Hashable {
  public var rule: TrafficRule
  /// Which one it shall be, counted from 1; absent: the last.
  public var number: Int?

  /// A request from its parts.
  public init(rule: TrafficRule, number: Int? = nil) {
    self.rule = rule
    self.number = number
  }
}
