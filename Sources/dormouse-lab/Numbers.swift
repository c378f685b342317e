import FoundationEssentials

/// A number with so many decimal places.
func decimal(_ value: Double, _ places: Int) -> String {
  guard value.isFinite else { return "-" }
  let scale = (0..<places).reduce(1) { scale, _ in scale * 10 }
  let scaled = Int((abs(value) * Double(scale)).rounded())
  let sign = value < 0 && scaled != 0 ? "-" : ""
  guard places > 0 else { return "\(sign)\(scaled)" }
  let fraction = "\(scaled % scale)"
  let zeros = String(repeating: "0", count: places - fraction.count)
  return "\(sign)\(scaled / scale).\(zeros)\(fraction)"
}

/// A time as a person reads it: milliseconds, or seconds from one second on.
func milliseconds(_ seconds: Double) -> String {
  abs(seconds) < 1 ? decimal(seconds * 1_000, 1) + " ms" : decimal(seconds, 2) + " s"
}

/// A share (0 to 1) in percent.
func percent(_ share: Double) -> String { decimal(share * 100, 1) + " %" }

/// Bytes as megabytes of a million.
func megabytes(_ bytes: Double) -> String { decimal(bytes / 1e6, 2) + " MB" }

/// Figures as one JSON object on one line, its keys in order.
func json(_ figures: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys]
  return String(decoding: try encoder.encode(figures), as: UTF8.self)
}
