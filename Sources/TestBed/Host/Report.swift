import SystemPackage

/// What a person who waits should see.
public enum Report {
  /// Writes one line to standard output at once, whatever that is.
  public static func output(_ text: String = "") {
    _ = try? FileDescriptor.standardOutput.writeAll(Array((text + "\n").utf8))
  }

  /// Writes one line to standard error.
  public static func line(_ text: String) {
    // Nobody is left to tell when this fails.
    _ = try? FileDescriptor.standardError.writeAll(Array("dormouse-lab: \(text)\n".utf8))
  }
}
