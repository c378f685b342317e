import API
public import FoundationEssentials

/// Reads and writes sizes, durations and times as people do.
public enum Quantities {
  // MARK: Bytes

  /// Reads a size such as `512M`, `1.5G` or `2GiB`; all units are powers of 1024. A number without a
  /// unit is an error: half of the world's tools read it as bytes and the other half as MiB.
  public static func parse(bytes text: String) throws(APIError) -> UInt64 {
    let (number, unit) = split(text)
    let shifts: [String: Int] = [
      "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30, "t": 40, "tib": 40,
    ]
    guard let number, let shift = shifts[unit.lowercased()] else {
      throw APIError(.invalid, "\"\(text)\" is not a size; say 512M or 1.5G")
    }
    let bytes = (number * Double(UInt64(1) << shift)).rounded()
    guard bytes < 0x1p63 else { throw APIError(.invalid, "\"\(text)\" is too much") }
    return UInt64(bytes)
  }

  /// Writes a size in the largest unit that leaves at least 1, with at most one decimal place.
  public static func format(bytes: some BinaryInteger) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = abs(Double(bytes))
    var unit = 0
    // 1023.96 would be written as 1024.
    while value >= 1023.95 && unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(bytes < 0 ? "-" : "")\(decimal(value)) \(units[unit])"
  }

  // MARK: Durations

  /// Reads a duration such as `90s`, `5m`, `1.5h` or `2d`, in seconds. A number without a unit is
  /// seconds.
  public static func parse(duration text: String) throws(APIError) -> Double {
    let (number, unit) = split(text)
    let factors: [String: Double] = [
      "": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400,
    ]
    guard let number, let factor = factors[unit] else {
      throw APIError(.invalid, "\"\(text)\" is not a duration; say 60s, 5m or 2h")
    }
    return number * factor
  }

  /// Reads an idle time: a duration, or `never`, which is nil.
  public static func parse(idleTime text: String) throws(APIError) -> Double? {
    if text == "never" { return nil }
    let seconds = try parse(duration: text)
    try VirtualMachine.validate(idleAfterSeconds: seconds)
    return seconds
  }

  /// Writes a duration: `250 µs`, `3.1 ms`, `12.3 s`, `1 min 35 s`, `2 h 5 min`, `3 d 4 h`. With
  /// `rounded`, in whole seconds at most.
  public static func format(seconds: Double, rounded: Bool = false) -> String {
    guard seconds.isFinite, abs(seconds) < 1e12 else { return "a very long time" }
    let seconds = rounded ? seconds.rounded(.down) : seconds
    switch seconds {
    case ..<0.0009995 where !rounded: return "\(decimal(seconds * 1_000_000)) µs"
    case ..<0.9995 where !rounded: return "\(decimal(seconds * 1000)) ms"
    case ..<59.95: return "\(decimal(seconds)) s"
    default: break
    }
    let total = Int(seconds.rounded())
    let parts = [
      (total / 86400, "d"), (total / 3600 % 24, "h"), (total / 60 % 60, "min"), (total % 60, "s"),
    ].drop { $0.0 == 0 }.prefix(2).filter { $0.0 != 0 }
    return parts.map { "\($0.0) \($0.1)" }.joined(separator: " ")
  }

  /// Writes how long ago a time is: `now`, `42 s ago`, `3 min ago`, `2 h ago`, `5 d ago`.
  public static func format(_ date: Date, relativeTo now: Date) -> String {
    let seconds = now.timeIntervalSince(date)
    switch seconds {
    case ..<1: return "now"
    case ..<60: return "\(Int(seconds)) s ago"
    case ..<3600: return "\(Int(seconds) / 60) min ago"
    case ..<172_800: return "\(Int(seconds) / 3600) h ago"
    case ..<1e12: return "\(Int(seconds) / 86400) d ago"
    default: return "long ago"
    }
  }

  // MARK: Parts

  /// A number at the start of a text, which must be plain decimal digits, and what follows it.
  private static func split(_ text: String) -> (number: Double?, unit: String) {
    let digits = text.prefix { ("0"..."9").contains($0) || $0 == "." }
    return (Double(digits), String(text.dropFirst(digits.count)))
  }

  private static func decimal(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths.isMultiple(of: 10) ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
  }
}
