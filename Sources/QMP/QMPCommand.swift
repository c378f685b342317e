/// A command for a QEMU monitor or a guest agent (QEMU: docs/interop/qmp-spec.rst, "Issuing
/// Commands").
public struct QMPCommand: Sendable, Hashable {
  /// What to execute, `query-status` for example.
  public var name: String
  /// The arguments as an object; nil for none.
  public var arguments: JSONValue?
  /// Comes back in the reply. The sender chooses it, one of its own for each command in flight.
  public var id: UInt64

  public init(_ name: String, arguments: JSONValue? = nil, id: UInt64) {
    self.name = name
    self.arguments = arguments
    self.id = id
  }

  /// One line of JSON text with its line feed, ready to be written.
  public func encodedLine() -> [UInt8] {
    var message: [String: JSONValue] = ["execute": .string(name)]
    message["arguments"] = arguments
    // As text, not through Int64: every UInt64 is a valid identifier.
    var line = JSONValue.object(message).encoded()
    line.removeLast()
    line.append(contentsOf: ",\"id\":\(id)}\n".utf8)
    return line
  }
}
