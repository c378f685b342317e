/// Quantiles of a set of measurements.
public struct Quantiles: Sendable {
  private let sorted: [Double]

  /// - Parameter values: at least one.
  public init(_ values: [Double]) { sorted = values.sorted() }

  /// The smallest value that at least this share (0 to 1) of all values does not exceed; not a number
  /// when there are no values.
  public func quantile(_ share: Double) -> Double {
    guard !sorted.isEmpty else { return .nan }
    let rank = Int((share * Double(sorted.count)).rounded(.up))
    return sorted[min(max(rank - 1, 0), sorted.count - 1)]
  }

  public var p50: Double { quantile(0.5) }
  public var p95: Double { quantile(0.95) }
  public var maximum: Double { quantile(1) }
  public var minimum: Double { quantile(0) }
}
