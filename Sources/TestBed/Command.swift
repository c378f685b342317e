import Subprocess
public import SystemPackage

/// Runs programs to their end.
public enum Command {
  /// What a program printed, standard error included, and how it ended.
  public struct Outcome: Sendable {
    public let output: String
    public let succeeded: Bool
  }

  /// Runs a program found in PATH and returns what it printed.
  ///
  /// - Parameters:
  ///   - words: the program and its arguments.
  ///   - directory: where it runs; nil for the caller's directory.
  ///   - input: what it reads on standard input.
  ///   - deadline: it is killed after this time.
  /// - Throws: ``TestBedError/Code/command`` with the output when it fails.
  @discardableResult
  public static func run(
    _ words: String..., directory: FilePath? = nil, input: String = "",
    deadline: Duration = .seconds(60)
  ) async throws -> String {
    try await run(words, directory: directory, input: input, deadline: deadline)
  }

  /// As above, for a command made elsewhere.
  @discardableResult
  public static func run(
    _ words: [String], directory: FilePath? = nil, input: String = "",
    deadline: Duration = .seconds(60)
  ) async throws -> String {
    let outcome = try await outcome(
      of: words, directory: directory, input: input, deadline: deadline)
    guard outcome.succeeded else {
      throw TestBedError(
        code: .command,
        message: "\(words.joined(separator: " ")) failed: \(outcome.output.trimmedLine)")
    }
    return outcome.output
  }

  /// Runs a program and reports also its failure.
  ///
  /// - Throws: ``TestBedError/Code/deadline``, or ``TestBedError/Code/unprepared`` when there is no such
  ///   program.
  public static func outcome(
    of words: [String], directory: FilePath? = nil, input: String = "",
    deadline: Duration = .seconds(60)
  ) async throws -> Outcome {
    guard let program = words.first else {
      throw TestBedError(code: .malformed, message: "an empty command")
    }
    let name = words.joined(separator: " ")
    return try await within(deadline, "\(name) to end") {
      do {
        let result = try await Subprocess.run(
          program.contains("/") ? .path(FilePath(program)) : .name(program),
          arguments: Arguments(Array(words.dropFirst())), workingDirectory: directory,
          input: .string(input), output: .string(limit: 16 << 20), error: .combinedWithOutput)
        return Outcome(
          output: result.standardOutput, succeeded: result.terminationStatus.isSuccess)
      } catch let error as SubprocessError where error.code == .executableNotFound {
        throw TestBedError(
          code: .unprepared, message: "there is no \(program); scripts/setup.sh installs it")
      }
    }
  }
}

/// Runs a body that must come to its end in time, and cancels it when it does not.
///
/// - Parameter what: completes the sentence "waited 5 s for ...".
/// - Throws: ``TestBedError/Code/deadline``, or what the body throws.
public func within<Value: Sendable>(
  _ deadline: Duration, _ what: String, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value?.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await Task.sleep(for: deadline)
      return nil
    }
    defer { group.cancelAll() }
    guard let first = try await group.next(), let value = first else {
      throw TestBedError(code: .deadline, message: "waited \(deadline) in vain for \(what)")
    }
    return value
  }
}

/// Asks again and again until the answer is there.
///
/// - Parameters:
///   - what: completes the sentence "waited 5 s for ...".
///   - interval: the pause between two questions.
///   - body: the question; nil asks for another try. An error ends the wait.
public func eventually<Value: Sendable>(
  _ what: String, within deadline: Duration, every interval: Duration = .milliseconds(50),
  _ body: () async throws -> Value?
) async throws -> Value {
  let clock = ContinuousClock()
  let end = clock.now + deadline
  while true {
    if let value = try await body() { return value }
    guard clock.now < end else {
      throw TestBedError(code: .deadline, message: "waited \(deadline) in vain for \(what)")
    }
    try await Task.sleep(for: interval)
  }
}

extension String {
  /// The text without white space at its ends.
  var trimmedLine: String {
    var rest = Substring(self)
    while let first = rest.first, first.isWhitespace { rest.removeFirst() }
    while let last = rest.last, last.isWhitespace { rest.removeLast() }
    return String(rest)
  }
}
