/// Numbers for the unprivileged users that QEMUs and the sentry run as. No account has them: a process
/// that breaks out of one VM owns no file and can signal no other process.
package enum UserIDs {
  /// Above what systemd gives to containers (up to 1,879,048,191), below what fits a signed 32-bit number.
  private static let range: Range<UInt32> = 1_900_000_000..<2_100_000_000

  /// The sentry's. One number for all daemons of a host: their sentries trust the same daemon user, root.
  package static let sentry = range.lowerBound

  /// One VM's, by chance: with a thousand VMs two share theirs with a probability of 0.3 %.
  package static func random() -> UInt32 {
    UInt32.random(in: (range.lowerBound + 1)..<range.upperBound)
  }

  /// Eight hexadecimal digits, by which a VM's interfaces are named (an interface name has 15 bytes).
  package static func freshIdentifier() -> String {
    let digits = String(UInt32.random(in: .min ... .max), radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
