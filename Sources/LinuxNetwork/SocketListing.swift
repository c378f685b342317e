/// What `/proc/net/tcp`, `tcp6`, `udp` and `udp6` (proc_pid_net(5)) say, here or in a guest.
public enum SocketListing {
  /// The longest listing that is read, some 1,700 sockets.
  public static let maximumBytes = 256 << 10

  /// A listing that is none.
  public struct Unusable: Error, CustomStringConvertible {
    public let description: String

    public init(_ what: String) { description = "the list of sockets is unusable: \(what)" }
  }

  /// The local ports of all sockets in a listing, whatever their state: whoever has one in use may get an
  /// answer that nobody else can give.
  public static func ports(in listing: [UInt8]) throws(Unusable) -> Set<UInt16> {
    var lines = listing.split(separator: UInt8(ascii: "\n"))[...]
    guard let head = lines.popFirst(), Self.words(head).contains(where: { $0 == "local_address" })
    else { throw Unusable("it has no heading") }
    guard listing.last == UInt8(ascii: "\n") else { throw Unusable("its last line is cut") }
    var ports: Set<UInt16> = []
    for line in lines {
      // "  0: 0100007F:1F90 00000000:0000 0A …"
      let words = Self.words(line)
      guard words.count >= 4, words[0].hasSuffix(":"),
        let colon = words[1].lastIndex(of: ":"),
        let port = UInt16(words[1][words[1].index(after: colon)...], radix: 16)
      else { throw Unusable("it has a line that is no socket's") }
      ports.insert(port)
    }
    return ports
  }

  private static func words(_ line: ArraySlice<UInt8>) -> [Substring] {
    String(decoding: line.prefix(512), as: UTF8.self).split(separator: " ")
  }
}
