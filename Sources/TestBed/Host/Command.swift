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

extension String {
  /// The text without white space at its ends.
  var trimmedLine: String {
    var rest = Substring(self)
    while let first = rest.first, first.isWhitespace { rest.removeFirst() }
    while let last = rest.last, last.isWhitespace { rest.removeLast() }
    return String(rest)
  }
}
