/// What shall be done about traffic that would wake a sleeping VM: one line of an ordered list, of which
/// the first that matches holds. Without a match the built-in verdicts hold.
///
/// Written as text everywhere, JSON included; see ``init(_:)`` for the grammar.
public struct TrafficRule: Sendable, Hashable {
  /// Addresses of peers.
  public struct Source: Sendable, Hashable {
    /// The address in network byte order: 4 bytes for IPv4, 16 for IPv6. All bits beyond the prefix are 0.
    public let bytes: [UInt8]
    /// How many leading bits count.
    public let prefixLength: Int

    init(bytes: [UInt8], prefixLength: Int) {
      self.bytes = bytes
      self.prefixLength = prefixLength
    }
  }

  /// What an IP packet carries.
  public enum TransportProtocol: String, Sendable, Hashable, CaseIterable {
    /// Whatever IP carries; with ports, TCP and UDP.
    case any
    case tcp
    case udp
    /// ICMP and ICMPv6.
    case icmp
  }

  /// What is done about a packet.
  public enum Verdict: Sendable, Hashable {
    /// It wakes, as without any rule: an exception to the rules that follow.
    case wake
    /// It is dropped without a word.
    case ignore
    /// The opening of a TCP connection and a UDP datagram get what a closed port answers. All else is
    /// dropped without a word.
    case refuse
    /// It is kept for when something else wakes the VM.
    ///
    /// With a number of seconds, demand that goes on for so long wakes the VM.
    case `defer`(wakeAfterSeconds: Int?)
  }

  /// Whose packets; nil for everybody's.
  public var source: Source?
  public var transport: TransportProtocol
  /// The guest's ports; nil for all, and for packets without ports.
  public var ports: ClosedRange<UInt16>?
  public var verdict: Verdict

  /// A rule from its parts.
  public init(
    source: Source? = nil, transport: TransportProtocol = .any, ports: ClosedRange<UInt16>? = nil,
    verdict: Verdict
  ) {
    self.source = source
    self.transport = transport
    self.ports = ports
    self.verdict = verdict
  }

  /// The most rules that one list, a VM's or the host's, may have.
  public static let limit = 64
}

extension TrafficRule: CustomStringConvertible {
  /// The rule as ``init(_:)`` reads it, in one form for all spellings.
  public var description: String {
    var words: [String] = []
    if let source { words.append("from \(source)") }
    if transport != .any { words.append(transport.rawValue) }
    if let ports {
      words.append(
        ports.count == 1
          ? "port \(ports.lowerBound)" : "port \(ports.lowerBound)-\(ports.upperBound)")
    }
    words.append("\(verdict)")
    return words.joined(separator: " ")
  }
}

extension TrafficRule.Verdict: CustomStringConvertible {
  /// The verdict's word.
  public var description: String {
    switch self {
    case .wake: "wake"
    case .ignore: "ignore"
    case .refuse: "refuse"
    case .defer(nil): "defer"
    case .defer(let seconds?): "defer:\(seconds)s"
    }
  }
}

extension TrafficRule: Codable {
  /// Reads the rule's text.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    do {
      self = try TrafficRule(try container.decode(String.self))
    } catch let error as APIError {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: error.message)
    }
  }

  /// Writes the rule's text.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
