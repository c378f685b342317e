import API
import ArgumentParser
import Client
import FoundationEssentials

struct Rules: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or change what wakes a sleeping virtual machine.",
    usage: """
      dormouse rules <name>|--host
      dormouse rules <name>|--host add <rule> [--at <number>]
      dormouse rules <name>|--host remove <number>
      dormouse rules <name>|--host set --file <file>
      dormouse rules <name>|--host clear
      """,
    discussion: """
      A rule is \(TrafficRule.grammar). The first that matches a frame holds, those of the host after \
      the virtual machine's own; without a match the frame wakes it. Changes take effect at once.

      Example: dormouse rules web add 'from 10.0.0.5 tcp port 9100 ignore'
      """)

  @Flag(help: "The rules that hold for all virtual machines, after their own.")
  var host = false

  @Option(
    help: ArgumentHelp(
      "A rule per line, - for standard input; # begins a comment.", valueName: "file"),
    completion: .file())
  var file: String?

  @Option(
    help: ArgumentHelp("Which one the new rule shall be (default: the last).", valueName: "number"))
  var at: Int?

  @Argument(help: "The virtual machine's name, unless --host; what to do; and with what.")
  var words: [String] = []

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    var words = words[...]
    let name = host ? nil : words.popFirst()
    guard host || name != nil else {
      throw APIError(.invalid, "whose rules? Say a virtual machine's name, or --host")
    }
    let list: RuleList
    if let change = try change(words) {
      list = try await client.changeRules(of: name, change)
    } else {
      list = try await client.rules(of: name)
    }
    try Console.print(Output.render(list, as: output.format))
  }

  /// What the words ask for; nil to show the rules.
  private func change(_ words: ArraySlice<String>) throws(APIError) -> RuleChange? {
    let rest = words.dropFirst()
    let change: RuleChange
    switch words.first {
    case nil: change = .set([])
    case "add" where !rest.isEmpty:
      // A rule in one word or in many.
      change = .add(try TrafficRule(rest.joined(separator: " ")), at: at)
    case "remove" where rest.count == 1:
      guard let number = rest.first.flatMap({ Int($0) }) else {
        throw APIError(.invalid, "\"\(rest.first ?? "")\" is no rule's number")
      }
      change = .remove(number)
    case "set" where rest.isEmpty && file != nil:
      change = .set(try TrafficRule.list(try Self.text(of: file ?? "")))
    case "clear" where rest.isEmpty: change = .set([])
    case "add", "remove", "set", "clear":
      throw APIError(
        .invalid, "say add RULE, remove NUMBER, set --file FILE, or clear",
        advice: "a rule is " + TrafficRule.grammar)
    case let other?:
      throw APIError(
        .invalid, "\"\(other)\" cannot be done with rules",
        advice: "say add RULE, remove NUMBER, set --file FILE, or clear")
    }
    guard file == nil || words.first == "set" else {
      throw APIError(.invalid, "--file goes with set")
    }
    guard at == nil || words.first == "add" else {
      throw APIError(.invalid, "--at goes with add")
    }
    return words.isEmpty ? nil : change
  }

  private static func text(of file: String) throws(APIError) -> String {
    let data: Data
    do {
      data = try Data(contentsOf: URL(filePath: file == "-" ? "/dev/stdin" : file))
    } catch {
      throw APIError(.invalid, "\(file) cannot be read: \(error)")
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw APIError(.invalid, "\(file) is no text")
    }
    return text
  }
}
