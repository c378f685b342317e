import CLinux

/// One message of a received datagram. Lengths come from the datagram and are checked against it.
struct NetlinkMessage: Sendable {
  let type: UInt16
  let flags: UInt16
  let sequence: UInt32
  /// What follows the header.
  let body: ArraySlice<UInt8>

  /// The messages of a datagram, or nil when a length in it is impossible.
  static func all(in datagram: [UInt8]) -> [NetlinkMessage]? {
    var rest = datagram[...]
    var messages: [NetlinkMessage] = []
    while !rest.isEmpty {
      guard let length = rest.integer(at: 0, as: UInt32.self).map(Int.init),
        length >= NetlinkRequest.headerSize, length <= rest.count,
        let type = rest.integer(at: 4, as: UInt16.self),
        let flags = rest.integer(at: 6, as: UInt16.self),
        let sequence = rest.integer(at: 8, as: UInt32.self)
      else { return nil }
      let body = rest.dropFirst(NetlinkRequest.headerSize)
        .prefix(length - NetlinkRequest.headerSize)
      messages.append(
        NetlinkMessage(type: type, flags: flags, sequence: sequence, body: body))
      rest = rest.dropFirst(length.alignedUp)
    }
    return messages
  }

  /// The attributes after a fixed body of that many bytes.
  func attributes(after size: Int) -> NetlinkAttributes {
    NetlinkAttributes(body.dropFirst(size.alignedUp))
  }
}

/// A sequence of type-length-value attributes. It ends at the first one whose length is impossible.
struct NetlinkAttributes: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  mutating func next() -> (type: Int, value: ArraySlice<UInt8>)? {
    guard let length = rest.integer(at: 0, as: UInt16.self).map(Int.init), length >= 4,
      length <= rest.count, let type = rest.integer(at: 2, as: UInt16.self)
    else { return nil }
    let value = rest.dropFirst(4).prefix(length - 4)
    rest = rest.dropFirst(length.alignedUp)
    // The two highest bits are flags (nested, network byte order).
    return (Int(type & 0x3fff), value)
  }

  subscript(_ type: some BinaryInteger) -> ArraySlice<UInt8>? {
    first { $0.type == Int(type) }?.value
  }

  /// The attributes within an attribute; none if it is absent.
  func nested(_ type: some BinaryInteger) -> NetlinkAttributes {
    NetlinkAttributes(self[type] ?? [])
  }

  func string(_ type: some BinaryInteger) -> String? {
    self[type].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

extension ArraySlice<UInt8> {
  /// A number in the machine's byte order, or nil beyond the end. The offset counts from the
  /// slice's start.
  func integer<Value: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Value.Type
  ) -> Value? {
    guard offset >= 0, count - offset >= MemoryLayout<Value>.size else { return nil }
    return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }
}

extension Int {
  fileprivate var alignedUp: Int {
    (self + NetlinkRequest.alignment - 1) & ~(NetlinkRequest.alignment - 1)
  }
}
