/// A machine on the link, by its addresses as they are on the wire.
public struct Station: Sendable {
  let mac: [UInt8]
  let ipv4: [UInt8]
  let ipv6: [UInt8]

  public init(mac: [UInt8], ipv4: [UInt8], ipv6: [UInt8]) {
    self.mac = mac
    self.ipv4 = ipv4
    self.ipv6 = ipv6
  }

  static let guest = Station(
    mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56], ipv4: [10, 0, 0, 7],
    ipv6: [0xfd] + [UInt8](repeating: 0, count: 14) + [7])
  static let peer = Station(
    mac: [0x52, 0x54, 0, 0x99, 0x99, 0x99], ipv4: [10, 0, 0, 2],
    ipv6: [0xfd] + [UInt8](repeating: 0, count: 14) + [2])
}

/// The frames that a fuzzer would take long to find: well-formed ones, of which inputs choose the fields.
/// Checksums are put in last, by ``WireFrame/repaired``.
struct Sketches {
  static let guestPort: UInt16 = 22
  static let peerPort: UInt16 = 40_000

  var isIPv6: Bool
  /// Of the guest or of its peer.
  var isFromGuest: Bool
  var guest = Station.guest
  var peer = Station.peer

  private var sender: Station { isFromGuest ? guest : peer }
  private var receiver: Station { isFromGuest ? peer : guest }
  var source: [UInt8] { isIPv6 ? sender.ipv6 : sender.ipv4 }
  var destination: [UInt8] { isIPv6 ? receiver.ipv6 : receiver.ipv4 }
  private var sourceMAC: [UInt8] { sender.mac }

  func ethernet(_ type: UInt16, _ payload: [UInt8], to group: [UInt8]? = nil) -> [UInt8] {
    (group ?? receiver.mac) + sourceMAC
      + [UInt8(type >> 8), UInt8(type & 255)] + payload
  }

  /// - Parameter group: where it goes instead of to the other of the two.
  func packet(
    _ protocolNumber: UInt8, _ payload: [UInt8], hops: UInt8 = 64, from source: [UInt8]? = nil,
    to group: (mac: [UInt8], address: [UInt8])? = nil
  ) -> [UInt8] {
    let addresses = (source ?? self.source) + (group?.address ?? destination)
    var header: [UInt8]
    if isIPv6 {
      header = [0x60, 0, 0, 0, 0, 0, protocolNumber, hops] + addresses
      header.put(UInt16(payload.count), at: 4)
    } else {
      header = [0x45, 0, 0, 0, 0, 7, 0, 0, hops, protocolNumber, 0, 0] + addresses
      header.put(UInt16(20 + payload.count), at: 2)
    }
    let frame = ethernet(isIPv6 ? 0x86dd : 0x0800, header + payload, to: group?.mac)
    return WireFrame(frame)?.repaired ?? frame
  }

  func segment(
    sequence: UInt32, acknowledgement: UInt32, flags: UInt8, window: UInt16 = 502,
    timestamps: (UInt32, UInt32)?, payloadLength: Int
  ) -> [UInt8] {
    let (from, to) =
      isFromGuest ? (Self.guestPort, Self.peerPort) : (Self.peerPort, Self.guestPort)
    var options: [UInt8] = []
    if let timestamps {
      // Who opens a connection says that it understands what acknowledges selectively.
      options =
        (flags & 2 == 0 ? [1, 1] : [4, 2]) + [8, 10] + bytes(timestamps.0) + bytes(timestamps.1)
    }
    var segment = [UInt8](repeating: 0, count: 4) + bytes(sequence) + bytes(acknowledgement)
    segment.put(from, at: 0)
    segment.put(to, at: 2)
    segment += [UInt8(5 + options.count / 4) << 4, flags, 0, 0, 0, 0, 0, 0]
    segment.put(window, at: 14)
    return packet(6, segment + options + [UInt8](repeating: 65, count: payloadLength))
  }

  /// Everything that is no TCP, by number: questions of the link, its answers, echoes, groups, UDP.
  func other(_ choice: UInt8, _ detail: UInt8) -> [UInt8] {
    switch (choice % 9, isIPv6) {
    case (0, _): return question(detail)
    case (1, _): return claim(detail)
    case (2, _):
      let (number, request, reply): (UInt8, UInt8, UInt8) = isIPv6 ? (58, 128, 129) : (1, 8, 0)
      let type = isFromGuest ? reply : request
      let data = [UInt8](repeating: detail, count: Int(detail) * 6)
      return packet(number, [type, 0, 0, 0, 0, 1, 0, 2] + data)
    case (3, _): return query(detail)
    case (4, _): return report(detail)
    case (5, _): return packet(17, [0, 53, 1, detail, 0, 9, 0, 0, 1])
    case (6, false): return packet(1, [3, 3, 0, 0, 0, 0, 0, 0] + refused(detail))
    case (6, true): return packet(58, [1, 4, 0, 0, 0, 0, 0, 0] + refused(detail))
    case (8, _): return opening(detail)
    default: return packet(detail, [0, 0, 0, 0, 0, 0, 0, 0])
    }
  }

  /// The opening of a connection to port 256 + `port`; from the guest its refusal.
  private func opening(_ port: UInt8) -> [UInt8] {
    packet(
      6,
      isFromGuest
        ? [1, port, 0x9c, 0x41] + bytes(0) + bytes(7001) + [0x50, 0x14, 0, 0, 0, 0, 0, 0]
        : [0x9c, 0x41, 1, port] + bytes(7000) + bytes(0) + [0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0])
  }

  /// Who has the other's address? Bit 0 of `detail`: a probe.
  private func question(_ detail: UInt8) -> [UInt8] {
    let isProbe = detail & 1 != 0
    let nobody = [UInt8](repeating: 0, count: source.count)
    guard isIPv6 else {
      let asker = sourceMAC + (isProbe ? nobody : source)
      return ethernet(
        0x0806, [0, 1, 8, 0, 6, 4, 0, 1] + asker + [0, 0, 0, 0, 0, 0] + destination,
        to: [255, 255, 255, 255, 255, 255])
    }
    let tail = [UInt8](destination.suffix(3))
    let group: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff] + tail
    let option = isProbe ? [] : [1, 1] + sourceMAC
    return packet(
      58, [135, 0, 0, 0, 0, 0, 0, 0] + destination + option, hops: 255,
      from: isProbe ? nobody : nil, to: ([0x33, 0x33, 0xff] + tail, group))
  }

  /// An address is mine: the sender's own, or with bit 0 of `detail` the other's.
  private func claim(_ detail: UInt8) -> [UInt8] {
    let address = detail & 1 == 0 ? source : destination
    guard isIPv6 else {
      return ethernet(
        0x0806,
        [0, 1, 8, 0, 6, 4, 0, detail & 2 == 0 ? 2 : 1] + sourceMAC + address
          + receiver.mac + address)
    }
    return packet(
      58, [136, 0, 0, 0, detail & 0xe0, 0, 0, 0] + address + [2, 1] + sourceMAC, hops: 255)
  }

  /// A querier's question. Bits of `detail`: 1 for the older version, 2 for one group.
  private func query(_ detail: UInt8) -> [UInt8] {
    let sources: [UInt8] = detail & 1 == 0 ? [2, 125, 0, 0] : []
    guard isIPv6 else {
      let group: [UInt8] = detail & 2 == 0 ? [0, 0, 0, 0] : [239, 1, 1, detail]
      return packet(
        2, [0x11, detail >> 2, 0, 0] + group + sources, hops: 1,
        to: ([1, 0, 0x5e, 0, 0, 1], [224, 0, 0, 1]))
    }
    let group = detail & 2 == 0 ? [UInt8](repeating: 0, count: 16) : multicast(detail)
    return packet(
      58, [130, 0, 0, 0, 0, 0, 0, 0] + group + sources, hops: 1,
      from: [0xfe, 0x80] + [UInt8](repeating: 0, count: 13) + [1],
      to: ([0x33, 0x33, 0, 0, 0, 1], [0xff, 2] + [UInt8](repeating: 0, count: 13) + [1]))
  }

  /// A report that a group was joined or left.
  private func report(_ detail: UInt8) -> [UInt8] {
    guard isIPv6 else {
      return packet(
        2, [detail & 128 == 0 ? 0x16 : 0x17, 0, 0, 0, 239, 1, 1, detail & 127], hops: 1)
    }
    let change: UInt8 = detail & 128 == 0 ? 4 : 3
    return packet(
      58, [143, 0, 0, 0, 0, 0, 0, 1, change, 0, 0, 0] + multicast(detail & 127), hops: 1)
  }

  private func multicast(_ number: UInt8) -> [UInt8] {
    [0xff, 5] + [UInt8](repeating: 0, count: 13) + [number]
  }

  /// The beginning of a datagram to the sender, which says that its port is closed.
  private func refused(_ port: UInt8) -> [UInt8] {
    let datagram: [UInt8] = [1, 1, 1, port, 0, 9, 0, 0]
    let addresses = destination + source
    return isIPv6
      ? [0x60, 0, 0, 0, 0, 8, 17, 64] + addresses + datagram
      : [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0] + addresses + datagram
  }
}

private func bytes(_ value: UInt32) -> [UInt8] {
  [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
}
