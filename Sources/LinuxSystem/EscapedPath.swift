/// Paths in /proc files have spaces, tabs, newlines and backslashes written as `\ooo` (proc(5)).
package enum EscapedPath {
  /// The path itself. What is not an escape stays as it is.
  package static func decode(_ escaped: some StringProtocol) -> String {
    let source = Array(escaped.utf8)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(source.count)
    var index = 0
    while index < source.count {
      if source[index] == UInt8(ascii: "\\"), index + 3 < source.count,
        let value = octal(source[(index + 1)...(index + 3)])
      {
        bytes.append(value)
        index += 4
      } else {
        bytes.append(source[index])
        index += 1
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func octal(_ digits: ArraySlice<UInt8>) -> UInt8? {
    var value = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit) else { return nil }
      value = value * 8 + Int(digit - UInt8(ascii: "0"))
    }
    return UInt8(exactly: value)
  }
}
