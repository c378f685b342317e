public import API
public import FoundationEssentials

extension RuleList: DetailDisplayable {
  /// The lines of `rules`: each rule with its number.
  public func details(now: Date) -> [(label: String, value: String)] {
    var lines = rules.enumerated().map { (label: "\($0 + 1)", value: "\($1)") }
    if lines.isEmpty { lines.append(("Rules", "none")) }
    if let file { lines.append(("File", file)) }
    return lines
  }
}
