import API
public import FoundationEssentials

/// How a command prints what it was given.
public enum OutputFormat: String, Sendable, CaseIterable {
  /// For people. It may change.
  case table
  /// For programs: the values of the API, whose keys are documented and stable.
  case json
}

/// Something that is a row of a table.
public protocol ListDisplayable: Encodable {
  /// The heads of the columns.
  static var tableHeader: [String] { get }
  /// The row, as seen at a time.
  func tableRow(now: Date) -> [String]
  /// What is printed of it when only names are wanted.
  var quietValue: String { get }
}

/// Something that is printed as a page of its own.
public protocol DetailDisplayable: Encodable {
  /// What it says, line by line, as seen at a time.
  func details(now: Date) -> [(label: String, value: String)]
}

/// The one place where values become text.
public enum Output {
  /// Many of a kind: a table, a JSON array, or only their names.
  public static func render<Item: ListDisplayable>(
    _ items: [Item], as format: OutputFormat, quiet: Bool = false, now: Date = Date()
  ) throws -> String {
    if format == .json { return try json(items) }
    if quiet { return items.map(\.quietValue).joined(separator: "\n") }
    return Table.render([Item.tableHeader] + items.map { $0.tableRow(now: now) })
  }

  /// One: a page, or a JSON object.
  public static func render(
    _ item: some DetailDisplayable, as format: OutputFormat, now: Date = Date()
  ) throws -> String {
    if format == .json { return try json(item) }
    return Table.render(item.details(now: now).map { ["\($0.label):", $0.value] })
  }

  /// One, as the outcome of a command: a sentence, or a JSON object.
  public static func render(
    _ item: some Encodable, as format: OutputFormat, sentence: String
  ) throws -> String {
    if format == .json { return try json(item) }
    return Table.clean(sentence)
  }

  private static func json(_ value: some Encodable) throws -> String {
    String(decoding: try APICoding.encoder(pretty: true).encode(value), as: UTF8.self)
  }
}
