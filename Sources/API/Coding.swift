public import FoundationEssentials

/// How this API's values become JSON, the same in the daemon, the client and the command line.
///
/// Times are ISO 8601 in UTC with milliseconds (`2026-01-31T08:15:00.250Z`), bytes are integers,
/// durations are seconds as numbers with a key that ends in `Seconds`. A key whose value does not
/// exist is left out. Keys are sorted, so that two printouts can be compared line by line.
public enum APICoding {
  /// A fresh encoder. `pretty` breaks lines and indents, for people; without it the result has no
  /// line break, as newline-delimited JSON needs.
  public static func encoder(pretty: Bool = false) -> JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    encoder.dateEncodingStrategy = .custom { date, encoder in
      var container = encoder.singleValueContainer()
      try container.encode(string(from: date))
    }
    return encoder
  }

  /// A fresh decoder. It takes times with and without a fraction of a second.
  public static func decoder() -> JSONDecoder {
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .custom { decoder in
      let container = try decoder.singleValueContainer()
      let text = try container.decode(String.self)
      guard let date = date(from: text) else {
        throw DecodingError.dataCorruptedError(
          in: container, debugDescription: "\"\(text)\" is not an ISO 8601 time")
      }
      return date
    }
    return decoder
  }

  /// The time as this API writes it.
  public static func string(from date: Date) -> String {
    date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }

  /// Reads a time as this API writes it; nil when it is none.
  public static func date(from text: String) -> Date? {
    (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
      ?? (try? Date(text, strategy: Date.ISO8601FormatStyle()))
  }
}

/// The version of this release, as `dormouse --version` and `GET /v1/status` say it.
public enum DormouseVersion {
  /// Semantic version.
  public static let current = "0.1.0"
}

/// Where things are when nobody says otherwise.
public enum DormousePaths {
  /// The daemon's socket.
  public static let socket = "/run/dormouse/dormoused.sock"
}
