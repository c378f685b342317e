/// One 802.1Q or 802.1ad tag.
public struct VLANTag: Hashable, Sendable {
  /// The EtherType that announces the tag: 0x8100 or 0x88a8.
  public var tagProtocol: UInt16
  /// Priority, drop bit and VLAN number, as on the wire.
  public var control: UInt16

  public init(tagProtocol: UInt16 = 0x8100, control: UInt16) {
    self.tagProtocol = tagProtocol
    self.control = control
  }

  /// The VLAN's number; 0 means that the tag only carries a priority.
  public var number: UInt16 { control & 0xfff }

  var withoutPriority: VLANTag { VLANTag(tagProtocol: tagProtocol, control: number) }

  static func isTagProtocol(_ etherType: UInt16) -> Bool {
    etherType == 0x8100 || etherType == 0x88a8
  }
}

/// The tags of a frame, none to two.
public struct VLANTags: Hashable, Sendable {
  public var outer: VLANTag?
  public var inner: VLANTag?

  public init(outer: VLANTag? = nil, inner: VLANTag? = nil) {
    self.outer = outer
    self.inner = inner
  }

  public static let none = VLANTags()

  /// The same VLAN without priority or drop bits: how one who sets none sends into it.
  public var withoutPriority: VLANTags {
    VLANTags(outer: outer?.withoutPriority, inner: inner?.withoutPriority)
  }

  /// Whether there is nothing but a priority in them.
  public var isPriorityOnly: Bool { self != .none && network == 0 }

  /// A number that is equal for frames of the same VLAN, whatever their priority; 0 without tag.
  public var network: UInt32 {
    UInt32(outer?.number ?? 0) << 16 | UInt32(inner?.number ?? 0)
  }
}

/// An EtherType, or a length if below 1536 (802.3 with LLC).
public struct EtherType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16

  public init(rawValue: UInt16) {
    self.rawValue = rawValue
  }

  public static let ipv4 = EtherType(rawValue: 0x0800)
  public static let arp = EtherType(rawValue: 0x0806)
  public static let ipv6 = EtherType(rawValue: 0x86dd)
}

/// An Ethernet II header with its VLAN tags.
public struct EthernetHeader: Hashable, Sendable {
  public var destination: MACAddress
  public var source: MACAddress
  public var tags: VLANTags
  public var etherType: EtherType
  /// Where the network layer begins in the frame, in bytes.
  public var payloadOffset: Int

  /// Reads the header of a frame that starts with the destination's address. A third tag is left
  /// as the EtherType, which then is none that is known.
  /// - Throws: `.truncated`.
  public init(parsing frame: UnsafeRawBufferPointer) throws(FrameError) {
    destination = try frame.macAddress(0)
    source = try frame.macAddress(6)
    tags = .none
    var offset = 12
    var type = try frame.bigEndian(offset, as: UInt16.self)
    if VLANTag.isTagProtocol(type) {
      tags.outer = VLANTag(
        tagProtocol: type, control: try frame.bigEndian(offset + 2, as: UInt16.self))
      offset += 4
      type = try frame.bigEndian(offset, as: UInt16.self)
      if VLANTag.isTagProtocol(type) {
        tags.inner = VLANTag(
          tagProtocol: type, control: try frame.bigEndian(offset + 2, as: UInt16.self))
        offset += 4
        type = try frame.bigEndian(offset, as: UInt16.self)
      }
    }
    etherType = EtherType(rawValue: type)
    payloadOffset = offset + 2
  }
}
