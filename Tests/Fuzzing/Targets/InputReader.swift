/// Takes decisions from an input, byte by byte. An input that has come to its end decides for zero.
struct InputReader {
  private var rest: Slice<UnsafeRawBufferPointer>

  init(_ input: UnsafeRawBufferPointer) {
    rest = input[...]
  }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 {
    rest.popFirst() ?? 0
  }

  mutating func number16() -> UInt16 {
    UInt16(byte()) << 8 | UInt16(byte())
  }

  mutating func number32() -> UInt32 {
    UInt32(number16()) << 16 | UInt32(number16())
  }

  /// The next bytes, fewer at the input's end.
  mutating func bytes(_ count: Int) -> [UInt8] {
    let taken = [UInt8](rest.prefix(count))
    rest = rest.dropFirst(count)
    return taken
  }

  /// All that is left.
  mutating func remainder() -> [UInt8] {
    bytes(rest.count)
  }
}
