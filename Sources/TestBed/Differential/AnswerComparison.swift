/// Whether two answers are the same, but for what no one but the guest can know.
public enum AnswerComparison {
  /// What is not compared, and why. `docs/presence.md` lists it.
  public static let normalisations: [(what: String, why: String)] = [
    (
      "IPv4 identification",
      "A counter or a random number of the guest's; both only tell packets of one sender apart."
    ),
    (
      "TCP timestamp (TSval)",
      "The sentry repeats the guest's last one; it may be older than the awake guest's, never newer."
    ),
    (
      "IPv6 flow label of echo replies, ICMPv6 errors and refusals of connections",
      """
      Linux draws it from a secret of its own, for each peer or pair of ports anew (RFC 6437); the \
      sentry's is 0, which says \"none\".
      """
    ),
    (
      "order of the records in a membership report",
      "A set: the order says nothing (RFC 3376, RFC 3810)."
    ),
    (
      "delay of membership reports",
      "The guest waits a random time of at most what the query allows; the sentry answers at once."
    ),
    (
      "checksums",
      "They are checked, on both sides; their values follow from the rest."
    ),
  ]

  /// What is wrong with the answers' own form or with how they differ; nil when they are the same.
  /// - Parameter isWoken: `sentry` is what the guest has said when it was woken. A guest leaves checksums to
  ///   the device, which does not complete them where nobody needs them.
  public static func difference(
    sentry: [[UInt8]], guest: [[UInt8]], isWoken: Bool = false
  ) -> String? {
    for frame in sentry where !isWoken {
      if let defect = checksumDefect(in: frame) { return "the sentry's answer: " + defect }
    }
    guard sentry.count == guest.count else {
      return "\(sentry.count) answers of the sentry, \(guest.count) of the guest"
    }
    for (left, right) in zip(ordered(sentry), ordered(guest)) {
      var (left, right) = (left, right)
      if let early = normalise(&left, &right) { return early }
      if left != right {
        let places = zip(left, right).enumerated().filter { $0.element.0 != $0.element.1 }
          .map { "\($0.offset)" }
        return "different in the bytes \(places.joined(separator: " "))"
          + (left.count == right.count ? "" : ", and in their lengths")
      }
    }
    return nil
  }

  /// Several answers are one membership report each, whose order says nothing.
  private static func ordered(_ frames: [Bytes]) -> [Bytes] {
    frames.count < 2 ? frames : frames.sorted { $0.lexicographicallyPrecedes($1) }
  }

  private static func normalise(_ sentry: inout Bytes, _ guest: inout Bytes) -> String? {
    let (type, offset) = AnswerKey.network(of: sentry)
    guard AnswerKey.network(of: guest) == (type, offset) else { return nil }
    let next: Int
    let start: Int
    switch type {
    case 0x0800:
      next = sentry.number(offset + 9, 1) ?? 0
      start = offset + ((sentry.number(offset, 1) ?? 0) & 15) * 4
      for frame in [0, 1] {
        // Identification and checksum.
        if frame == 0 { clear(&sentry, offset + 4, 2) } else { clear(&guest, offset + 4, 2) }
        if frame == 0 { clear(&sentry, offset + 10, 2) } else { clear(&guest, offset + 10, 2) }
      }
    case 0x86dd:
      guard let found = AnswerKey.transport(of: sentry, at: offset) else { return nil }
      (next, start) = found
    default:
      return nil
    }
    switch (next, sentry.number(start, 1) ?? 0) {
    case (Above.tcp, _):
      let end = start + ((sentry.number(start + 12, 1) ?? 0) >> 4) * 4
      if let mine = timestampPlace(sentry, start + 20, end), let own = sentry.number(mine, 4),
        let theirs = timestampPlace(guest, start + 20, end), let value = guest.number(theirs, 4)
      {
        guard Int32(truncatingIfNeeded: own &- value) <= 0 else {
          return "the sentry's timestamp \(own) is newer than the guest's \(value)"
        }
        clear(&sentry, mine, 4)
        clear(&guest, theirs, 4)
      }
      if type == 0x86dd, (sentry.number(start + 13, 1) ?? 0) & 0x04 != 0 {
        forgiveLabel(sentry, &guest, offset)
      }
      clear(&sentry, start + 16, 2)
      clear(&guest, start + 16, 2)
    case (Above.icmp, _):
      clear(&sentry, start + 2, 2)
      clear(&guest, start + 2, 2)
    case (Above.icmpv6, let kind):
      clear(&sentry, start + 2, 2)
      clear(&guest, start + 2, 2)
      if kind == 129 || kind < 128 { forgiveLabel(sentry, &guest, offset) }
      if kind == 143 {
        sortRecords(&sentry, start + 8, 20)
        sortRecords(&guest, start + 8, 20)
      }
    case (Above.igmp, let kind):
      clear(&sentry, start + 2, 2)
      clear(&guest, start + 2, 2)
      if kind == 0x22 {
        sortRecords(&sentry, start + 8, 8)
        sortRecords(&guest, start + 8, 8)
      }
    default:
      break
    }
    return nil
  }

  /// Takes the guest's flow label out, where the sentry has none.
  private static func forgiveLabel(_ sentry: Bytes, _ guest: inout Bytes, _ offset: Int) {
    guard let mine = sentry.number(offset, 4), mine & 0xf_ffff == 0,
      let theirs = guest.number(offset, 4)
    else { return }
    guest.put(be32(UInt32(theirs & ~0xf_ffff)), at: offset)
  }

  private static func clear(_ frame: inout Bytes, _ offset: Int, _ count: Int) {
    frame.put(Bytes(repeating: 0, count: count), at: offset)
  }

  private static func timestampPlace(_ frame: Bytes, _ start: Int, _ end: Int) -> Int? {
    var offset = start
    while offset < end, let kind = frame.number(offset, 1), kind != 0 {
      if kind == 8 { return offset + 2 }
      offset += kind == 1 ? 1 : max(frame.number(offset + 1, 1) ?? 1, 1)
    }
    return nil
  }

  /// Records without sources, all of one length.
  private static func sortRecords(_ frame: inout Bytes, _ start: Int, _ length: Int) {
    var records: [Bytes] = []
    var offset = start
    while let record = frame.piece(offset, length) {
      records.append(record)
      offset += length
    }
    records.sort { $0.lexicographicallyPrecedes($1) }
    frame.put(records.flatMap { $0 }, at: start)
  }

  /// What is wrong with a frame's checksums; nil if nothing is.
  private static func checksumDefect(in frame: Bytes) -> String? {
    let (type, offset) = AnswerKey.network(of: frame)
    let next: Int
    let start: Int
    let addresses: Bytes?
    switch type {
    case 0x0800:
      start = offset + ((frame.number(offset, 1) ?? 0) & 15) * 4
      guard let header = frame.piece(offset, start - offset), internetChecksum(header) == 0 else {
        return "the IPv4 checksum is wrong"
      }
      next = frame.number(offset + 9, 1) ?? 0
      addresses = frame.piece(offset + 12, 8)
    case 0x86dd:
      guard let found = AnswerKey.transport(of: frame, at: offset) else { return nil }
      (next, start) = found
      addresses = frame.piece(offset + 8, 32)
    default:
      return nil
    }
    guard let addresses, start <= frame.count else { return "it is too short" }
    let packet = Bytes(frame[start...])
    let pseudo = addresses + be32(UInt32(packet.count)) + [0, 0, 0, UInt8(next & 255)]
    let covered = next == Above.icmp || next == Above.igmp ? packet : pseudo + packet
    return internetChecksum(covered) == 0 ? nil : "the checksum of protocol \(next) is wrong"
  }
}
