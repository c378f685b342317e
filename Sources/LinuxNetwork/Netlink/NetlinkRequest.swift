import CLinux

/// A netlink message under construction: header, fixed body, attributes (netlink(7), rtnetlink(7)).
struct NetlinkRequest {
  static let headerSize = MemoryLayout<nlmsghdr>.size
  /// Headers and attributes start at multiples of this.
  static let alignment = 4

  private var bytes: [UInt8]
  private let type: UInt16
  private let flags: UInt16

  /// - Parameters:
  ///   - type: `RTM_…`
  ///   - flags: `NLM_F_…` beyond `NLM_F_REQUEST`, and beyond `NLM_F_ACK` for what is no dump
  ///   - body: the C struct that follows the header
  init(_ type: some BinaryInteger, flags: Int32 = 0, body: some BitwiseCopyable) {
    self.type = UInt16(truncatingIfNeeded: type)
    let answer = flags & NLM_F_DUMP == NLM_F_DUMP ? 0 : NLM_F_ACK
    self.flags = UInt16(truncatingIfNeeded: NLM_F_REQUEST | answer | flags)
    bytes = [UInt8](repeating: 0, count: Self.headerSize)
    append(body)
  }

  var isDump: Bool { CInt(flags) & NLM_F_DUMP == NLM_F_DUMP }

  /// The message as the kernel expects it.
  func encoded(sequence: UInt32) -> [UInt8] {
    var message = bytes
    let header = nlmsghdr(
      nlmsg_len: UInt32(bytes.count), nlmsg_type: type, nlmsg_flags: flags, nlmsg_seq: sequence,
      nlmsg_pid: 0)
    withUnsafeBytes(of: header) { message.replaceSubrange(0..<Self.headerSize, with: $0) }
    return message
  }

  mutating func attribute(_ type: some BinaryInteger, bytes value: some Collection<UInt8>) {
    nested(type) { $0.bytes.append(contentsOf: value) }
  }

  /// A number in the machine's byte order, or a C struct.
  mutating func attribute(_ type: some BinaryInteger, _ value: some BitwiseCopyable) {
    nested(type) { $0.append(value) }
  }

  /// A string with its terminating zero.
  mutating func attribute(_ type: some BinaryInteger, string: String) {
    nested(type) {
      $0.bytes.append(contentsOf: string.utf8)
      $0.bytes.append(0)
    }
  }

  mutating func nested(_ type: some BinaryInteger, _ content: (inout NetlinkRequest) -> Void) {
    let start = bytes.count
    append(UInt16(0))
    append(UInt16(truncatingIfNeeded: type))
    content(&self)
    let length = UInt16(truncatingIfNeeded: bytes.count - start)
    withUnsafeBytes(of: length) { bytes.replaceSubrange(start..<start + 2, with: $0) }
    while bytes.count % Self.alignment != 0 { bytes.append(0) }
  }

  /// Raw bytes of a C value, for a struct that precedes nested attributes.
  mutating func append<Value: BitwiseCopyable>(_ value: Value) {
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
  }
}
