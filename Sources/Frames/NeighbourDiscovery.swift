/// A neighbour discovery message (RFC 4861), read from an ICMPv6 message.
public enum NeighbourDiscovery: Hashable, Sendable {
  /// `linkLayer` is the source link-layer address option.
  case solicitation(target: IPv6Address, linkLayer: MACAddress?)
  /// `linkLayer` is the target link-layer address option.
  case advertisement(target: IPv6Address, flags: Flags, linkLayer: MACAddress?)
  case routerSolicitation
  case routerAdvertisement
  case redirect

  /// The flags of an advertisement.
  public struct Flags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) {
      self.rawValue = rawValue
    }

    public static let router = Flags(rawValue: 0x80)
    public static let solicited = Flags(rawValue: 0x40)
    public static let override = Flags(rawValue: 0x20)
  }

  /// Reads and validates as RFC 4861 (6.1, 7.1, 8.1) demands of a receiver.
  /// - Returns: `nil` for a message of another protocol.
  /// - Throws: for a message that every receiver discards silently.
  public init?(
    parsing message: ICMPMessage, of packet: IPPacket, in frame: UnsafeRawBufferPointer
  ) throws(FrameError) {
    guard (133...137).contains(message.type) else { return nil }
    guard message.code == 0, packet.hopLimit == 255,
      case .v6(let source) = packet.source, case .v6(let destination) = packet.destination
    else {
      throw FrameError(.inconsistent, "a neighbour discovery message that came through a router")
    }
    let bytes = frame.limited(to: message.range.upperBound)
    let start = message.range.lowerBound
    switch message.type {
    case 135:
      let target = try bytes.ipv6Address(start + 8)
      let linkLayer = try Self.linkLayerOption(1, bytes, start + 24, message.range.upperBound)
      guard !target.isMulticast else {
        throw FrameError(.inconsistent, "a solicitation for a group")
      }
      if source == .unspecified {
        guard destination.isSolicitedNode, linkLayer == nil else {
          throw FrameError(.inconsistent, "a solicitation without a source that is not a probe")
        }
      }
      self = .solicitation(target: target, linkLayer: linkLayer)
    case 136:
      let flags = Flags(rawValue: try bytes.byte(start + 4))
      let target = try bytes.ipv6Address(start + 8)
      let linkLayer = try Self.linkLayerOption(2, bytes, start + 24, message.range.upperBound)
      guard !target.isMulticast, !(destination.isMulticast && flags.contains(.solicited)) else {
        throw FrameError(.inconsistent, "an advertisement that contradicts itself")
      }
      self = .advertisement(target: target, flags: flags, linkLayer: linkLayer)
    case 133:
      _ = try Self.linkLayerOption(1, bytes, start + 8, message.range.upperBound)
      self = .routerSolicitation
    case 134:
      _ = try Self.linkLayerOption(1, bytes, start + 16, message.range.upperBound)
      self = .routerAdvertisement
    default:
      _ = try Self.linkLayerOption(2, bytes, start + 40, message.range.upperBound)
      self = .redirect
    }
  }

  /// The Ethernet address in the first option of type `wanted`, all options being checked.
  private static func linkLayerOption(
    _ wanted: UInt8, _ bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int
  ) throws(FrameError) -> MACAddress? {
    guard start <= end else {
      throw FrameError(.truncated, "a neighbour discovery message is too short")
    }
    var offset = start
    var found: MACAddress?
    while offset < end {
      let type = try bytes.byte(offset)
      let length = Int(try bytes.byte(offset + 1)) * 8
      guard length > 0, offset + length <= end else {
        throw FrameError(.options, "a neighbour discovery option has an impossible length")
      }
      if type == wanted, found == nil {
        guard length == 8 else {
          throw FrameError(.options, "a link-layer address that is none of Ethernet's")
        }
        found = try bytes.macAddress(offset + 2)
      }
      offset += length
    }
    return found
  }
}
