/// A parser of what strangers send, or a state machine behind one, with what must hold for every input.
///
/// The same code runs under libFuzzer (`scripts/fuzz.sh`) and, with the inputs of the corpus, as an
/// ordinary test.
public struct FuzzTarget: Sendable {
  /// The name of its corpus, too.
  public let name: String
  /// Longer inputs bring nothing new, in bytes.
  public let maximumLength: Int
  private let body: @Sendable (UnsafeRawBufferPointer) throws -> Void

  init(
    _ name: String, maximumLength: Int,
    _ body: @escaping @Sendable (UnsafeRawBufferPointer) throws -> Void
  ) {
    self.name = name
    self.maximumLength = maximumLength
    self.body = body
  }

  /// Feeds one input to the target. May block its thread for milliseconds.
  /// - Throws: ``FuzzFinding`` when something does not hold. What is worse ends the process.
  public func run(_ input: UnsafeRawBufferPointer) throws {
    try body(input)
  }

  /// All targets.
  public static let all: [FuzzTarget] = [
    .frames, .sentry, .cursors, .qmp, .monitor, .agent, .files, .ports, .messages, .image, .kernel,
    .text,
    .rules, .wake, .template,
  ]
}

/// Something that must hold for every input does not.
public struct FuzzFinding: Error, CustomStringConvertible {
  public let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// - Throws: ``FuzzFinding`` unless `condition` holds.
func demand(_ condition: Bool, _ what: @autoclosure () -> String) throws(FuzzFinding) {
  guard condition else { throw FuzzFinding(what()) }
}
