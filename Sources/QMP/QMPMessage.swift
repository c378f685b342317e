/// Anything that a QEMU monitor or a guest agent sends (QEMU: docs/interop/qmp-spec.rst).
public enum QMPMessage: Sendable, Hashable {
  /// The first line of a monitor. Guest agents send none.
  case greeting(QMPGreeting)
  /// The outcome of a command. Without `id` it answers something that the peer could not even read,
  /// or comes from a guest agent too old to return identifiers.
  case reply(id: UInt64?, Result<JSONValue, QMPFailure>)
  /// Something happened in the machine.
  case event(QMPEvent)

  /// Reads one line, as ``QMPLineFramer`` cuts them.
  public static func parse(line: [UInt8]) throws(QMPWireError) -> QMPMessage {
    let value = try JSONValue(parsing: line)
    if let greeting = value["QMP"] { return .greeting(try QMPGreeting(greeting)) }
    if let name = value["event"] { return .event(try QMPEvent(name, in: value)) }
    // An identifier that is not one of ours cannot answer one of our commands.
    let id = value["id"].flatMap { $0.integerValue }.flatMap(UInt64.init(exactly:))
    if let failure = value["error"] {
      guard let errorClass = failure["class"]?.stringValue, let text = failure["desc"]?.stringValue
      else { throw QMPWireError(.notAMessage, "an error reply without class or description") }
      return .reply(id: id, .failure(QMPFailure(errorClass: errorClass, description: text)))
    }
    if let result = value["return"] { return .reply(id: id, .success(result)) }
    throw QMPWireError(.notAMessage, "JSON that is neither greeting nor reply nor event")
  }
}

/// What a monitor says of itself when a client connects.
public struct QMPGreeting: Sendable, Hashable {
  public let major: Int
  public let minor: Int
  public let micro: Int
  /// What the packager added to the version; often empty.
  public let package: String
  /// Whether the monitor can execute commands out of band.
  public let oobCapable: Bool

  public init(major: Int, minor: Int, micro: Int, package: String, oobCapable: Bool) {
    self.major = major
    self.minor = minor
    self.micro = micro
    self.package = package
    self.oobCapable = oobCapable
  }

  init(_ value: JSONValue) throws(QMPWireError) {
    func part(_ name: String) throws(QMPWireError) -> Int {
      guard let number = value["version"]?["qemu"]?[name]?.integerValue, (0...999).contains(number)
      else { throw QMPWireError(.notAMessage, "a greeting without a \(name) version") }
      return Int(number)
    }
    self.init(
      major: try part("major"), minor: try part("minor"), micro: try part("micro"),
      package: value["version"]?["package"]?.stringValue ?? "",
      oobCapable: value["capabilities"]?.arrayValue?.contains("oob") ?? false)
  }
}

/// A command was understood and refused.
public struct QMPFailure: Error, Sendable, Hashable, CustomStringConvertible {
  /// `GenericError`, `CommandNotFound`, `DeviceNotFound` …; the only part that programs may go by.
  public let errorClass: String
  /// For people. Written by the peer, so by the guest where the peer is its agent.
  public let description: String

  public init(errorClass: String, description: String) {
    self.errorClass = errorClass
    self.description = description
  }
}

/// Something that happened in the machine, unasked for.
public struct QMPEvent: Sendable, Hashable {
  /// `STOP`, `RESUME`, `SHUTDOWN` …
  public let name: String
  public let data: JSONValue?
  /// When, by the host's clock: whole seconds since 1970. -1 when QEMU could not tell.
  public let seconds: Int64
  /// Microseconds within the second. -1 when QEMU could not tell.
  public let microseconds: Int64

  public init(name: String, data: JSONValue? = nil, seconds: Int64, microseconds: Int64) {
    self.name = name
    self.data = data
    self.seconds = seconds
    self.microseconds = microseconds
  }

  init(_ name: JSONValue, in message: JSONValue) throws(QMPWireError) {
    guard let name = name.stringValue,
      let seconds = message["timestamp"]?["seconds"]?.integerValue,
      let microseconds = message["timestamp"]?["microseconds"]?.integerValue
    else { throw QMPWireError(.notAMessage, "an event without name or time") }
    self.init(name: name, data: message["data"], seconds: seconds, microseconds: microseconds)
  }
}
