import Foundation
import Testing

/// Gives the body a directory of its own, which anybody may enter, and removes it afterwards.
func withTemporaryDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
  let path = "/tmp/dormouse-test-\(UInt32.random(in: 0 ... .max))"
  try FileManager.default.createDirectory(
    atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try await body(path)
}

/// Waits until something is so; records an issue when it is not within 5 s.
func eventually(
  _ what: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + .seconds(5)
  while ContinuousClock.now < deadline {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(20))
  }
  Issue.record(what ?? "what was expected did not happen", sourceLocation: sourceLocation)
}

/// What became of a child process.
struct Outcome {
  var status: Int32
  var output: String
  var complaint: String
}

/// Runs a program with its standard input and waits for its end.
func run(
  _ arguments: [String], input: Data = Data(), environment: [String: String] = [:]
) async throws -> Outcome {
  let process = Process()
  process.executableURL = URL(filePath: "/usr/bin/env")
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let (stdin, stdout, stderr) = (Pipe(), Pipe(), Pipe())
  process.standardInput = stdin
  process.standardOutput = stdout
  process.standardError = stderr
  // Ends of pipes are read on threads of their own, so that no full pipe stops the child.
  async let output = text(of: stdout)
  async let complaint = text(of: stderr)
  let ended = AsyncStream<Void> { continuation in
    process.terminationHandler = { _ in continuation.finish() }
  }
  try process.run()
  try? stdin.fileHandleForWriting.write(contentsOf: input)
  try? stdin.fileHandleForWriting.close()
  for await _ in ended {}
  return Outcome(
    status: process.terminationStatus, output: await output, complaint: await complaint)
}

private func text(of pipe: Pipe) async -> String {
  let handle = pipe.fileHandleForReading
  return await withCheckedContinuation { continuation in
    Thread.detachNewThread {
      let data = (try? handle.readToEnd()) ?? Data()
      continuation.resume(returning: String(decoding: data, as: UTF8.self))
    }
  }
}
