import Frames
import Seamless
import Testing

#if DEBUG
  private let rounds = 20_000
#else
  private let rounds = 200_000
#endif

@Suite("Hostile frames")
struct SentryFuzzTests {
  /// Mutated frames of every kind, half of them with checksums made right again.
  @Test("Mutated frames crash nothing, and every reply is sound", arguments: [1, 2] as [UInt64])
  func mutation(_ seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    let scene = try SentryScene(.init(isIPv6: seed == 2, timestamps: true))
    scene.establish()
    let corpus = self.corpus(scene)
    var answers = 0
    for round in 0..<rounds / 2 {
      var frame = corpus[Int.random(in: 0..<corpus.count, using: &generator)]
      mutate(&frame, &generator)
      if round % 2 == 0 { repair(&frame) }
      scene.now += SentryScene.second
      guard case .answer = scene.judge(frame) else {
        #expect(scene.replies.count == 0)
        continue
      }
      answers += 1
      for answer in scene.answers {
        let fault = defect(in: answer) ?? fault(in: answer, to: frame, scene)
        guard fault == nil else {
          Issue.record("round \(round): \(fault ?? "") in \(answer) to \(frame)")
          return
        }
      }
    }
    #expect(answers > rounds / 100)
  }

  @Test("Mutated frames teach nothing that is out of bounds", arguments: [3, 4] as [UInt64])
  func learning(_ seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    let scene = try SentryScene(.init(isIPv6: seed == 4, timestamps: true))
    scene.establish()
    let corpus = self.corpus(scene)
    for round in 0..<rounds / 4 {
      var frame = corpus[Int.random(in: 0..<corpus.count, using: &generator)]
      mutate(&frame, &generator)
      scene.now += SentryScene.second
      scene.hear(frame, round % 2 == 0 ? .fromGuest : .toGuest)
      if round % 64 == 0 { _ = scene.learner.quiescence(at: scene.now) }
    }
    #expect(scene.table.flowCount <= 64 && scene.table.addresses.count <= 32)
    #expect(scene.table.ipv4Groups.count <= 32 && scene.table.ipv6Groups.count <= 48)
    #expect(scene.table.addresses.allSatisfy { $0.address.canBeOwned })
  }

  /// Valid segments with fields around those of the cursor, and what must come out for each.
  @Test("Exactly the probes are answered", arguments: SentryScene.Wire.all)
  func segments(_ wire: SentryScene.Wire) throws {
    var generator = SeededGenerator(state: 5)
    let scene = try SentryScene(wire)
    scene.establish(start: 0xffff_fff3)
    var answers = 0
    func near(_ value: UInt32) -> UInt32 {
      value &+ UInt32(bitPattern: Int32.random(in: -3...3, using: &generator))
    }
    for _ in 0..<rounds / 32 {
      scene.now += 10 * SentryScene.second
      scene.sentry.beginSleep()
      let sequence = near(scene.guestAcknowledgement)
      let acknowledgement =
        Bool.random(using: &generator) ? scene.guestSequence : near(scene.guestSequence)
      let length = Int.random(in: 0...2, using: &generator)
      let flags: TCPFlags =
        Bool.random(using: &generator)
        ? .ack : TCPFlags(rawValue: UInt8.random(in: 0...63, using: &generator))
      let stamps =
        Int.random(in: 0...7, using: &generator) == 0
        ? nil : (near(scene.peerTimestamp &+ 3), near(scene.guestTimestamp &- 3))
      let probe = scene.peerSegment {
        $0.sequence = sequence
        $0.acknowledgement = acknowledgement
        $0.flags = flags
        $0.timestamps = wire.timestamps ? stamps : nil
        $0.payload = Bytes(repeating: 1, count: length)
      }
      let isProbe =
        sequence == scene.guestAcknowledgement &- 1 && length <= 1
        && acknowledgement == scene.guestSequence && flags.subtracting(.psh) == .ack
        && (!wire.timestamps || stamps != nil)
      let verdict = scene.judge(probe)
      #expect((verdict == .answer(1)) == isProbe, "\(verdict)")
      if isProbe {
        answers += 1
        let answer = try #require(scene.answers.first)
        #expect(fault(in: answer, to: probe, scene) == nil && defect(in: answer) == nil)
      }
    }
    #expect(answers > rounds / 2000)
  }

  // MARK: - Means

  private func corpus(_ scene: SentryScene) -> [Bytes] {
    let isIPv6 = scene.wire.isIPv6
    let icmpNumber = isIPv6 ? 58 : 1
    let echo = icmp(scene.peer, scene.guest, type: isIPv6 ? 128 : 8, [1, 2, 3, 4, 5, 6, 7])
    var frames = [
      scene.peerSegment(), scene.peerSegment { $0.payload = [1] },
      scene.peerSegment {
        $0.sequence &+= 1; $0.payload = [1, 2, 3, 4]
      },
      scene.peerSegment {
        $0.flags = [.fin, .ack]; $0.sequence &+= 1
      },
      scene.peerSegment {
        $0.flags = .rst; $0.sequence &+= 1
      },
      scene.peerSegment {
        $0.flags = .syn; $0.options = [2, 4, 5, 180, 3, 3, 7, 4, 2]
      },
      scene.guestSegment(), scene.guestSegment { $0.payload = [1, 2, 3] },
      scene.assertion(of: scene.guest), scene.question(about: scene.guest),
      scene.fromPeer(ip(scene.peer, scene.guest, icmpNumber, echo)),
      scene.fromPeer(
        ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 9, to: 53))),
    ]
    if isIPv6 {
      let querier = IPAddress.v6(IPv6Address(high: 0xfe80 << 48, low: 1))
      let nodes = IPAddress.v6(.allNodes)
      let query = icmp(querier, nodes, type: 130, Bytes(repeating: 0, count: 20) + [2, 125, 0, 0])
      frames.append(
        scene.fromPeer(
          ip(querier, nodes, 58, query, hops: 1, options: [58, 0, 5, 2, 0, 0, 1, 0]),
          to: IPv6Address.allNodes.multicastMAC))
      let report = icmp(
        scene.guest, nodes, type: 143, [0, 0, 0, 1, 4, 0, 0, 0] + wireForm(.v6(.mldRouters)))
      frames.append(scene.fromGuest(ip(scene.guest, nodes, 58, report, hops: 1)))
    } else {
      let hosts = IPAddress.v4(.allHosts)
      let query = summed(
        [0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0], at: 2, scene.peer, hosts, 2, pseudo: false)
      frames.append(
        scene.fromPeer(
          ip(scene.peer, hosts, 2, query, hops: 1), to: IPv4Address.allHosts.multicastMAC))
      let report = summed(
        [0x16, 0, 0, 0, 239, 1, 1, 1], at: 2, scene.guest, hosts, 2, pseudo: false)
      frames.append(scene.fromGuest(ip(scene.guest, hosts, 2, report, hops: 1)))
    }
    return frames
  }

  private func mutate(_ frame: inout Bytes, _ generator: inout SeededGenerator) {
    for _ in 0..<Int.random(in: 0...3, using: &generator) where !frame.isEmpty {
      switch Int.random(in: 0...9, using: &generator) {
      case 0:
        frame.removeLast(Int.random(in: 1...frame.count, using: &generator))
      case 1:
        frame += (0..<Int.random(in: 1...40, using: &generator)).map { _ in
          UInt8.random(in: 0...255, using: &generator)
        }
      case 2:
        let at = Int.random(in: 0..<frame.count, using: &generator)
        frame.insert(UInt8.random(in: 0...255, using: &generator), at: at)
      case 3:
        let at = Int.random(in: 0..<frame.count, using: &generator)
        frame[at] = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0...4, using: &generator)]
      default:
        let at = Int.random(in: 0..<frame.count, using: &generator)
        frame[at] ^= 1 << UInt8.random(in: 0...7, using: &generator)
      }
    }
  }

  /// Makes the checksums of an untagged packet right, where it is one enough to have them.
  private func repair(_ frame: inout Bytes) {
    guard frame.count >= 54 else { return }
    let isIPv6 = number(frame, 12, 2) == 0x86dd
    guard isIPv6 || number(frame, 12, 2) == 0x0800 else { return }
    let length = isIPv6 ? 40 : Int(frame[14] & 15) * 4
    let end = 14 + Int(number(frame, isIPv6 ? 18 : 16, 2)) + (isIPv6 ? 40 : 0)
    guard length >= 20, end <= frame.count, 14 + length <= end else { return }
    if !isIPv6 {
      frame.replaceSubrange(24..<26, with: [0, 0])
      frame.replaceSubrange(24..<26, with: be16(slowChecksum(Bytes(frame[14..<14 + length]))))
    }
    let hasOptions = isIPv6 && frame[20] == 0 && frame[55] == 0 && end >= 70
    let start = 14 + length + (hasOptions ? 8 : 0)
    let next = isIPv6 ? (hasOptions ? frame[54] : frame[20]) : frame[23]
    guard let offset = [1: 2, 2: 2, 6: 16, 17: 6, 58: 2][next], start + offset + 2 <= end else {
      return
    }
    frame.replaceSubrange(start + offset..<start + offset + 2, with: [0, 0])
    let packet = Bytes(frame[start..<end])
    let addresses = Bytes(isIPv6 ? frame[22..<54] : frame[26..<34])
    let covered =
      next == 1 || next == 2
      ? packet : addresses + be32(UInt32(packet.count)) + [0, 0, 0, next] + packet
    frame.replaceSubrange(start + offset..<start + offset + 2, with: be16(slowChecksum(covered)))
  }

  /// What a reply says that the guest has not said; `nil` if nothing. Reads the bytes by itself.
  private func fault(in answer: Bytes, to frame: Bytes, _ scene: SentryScene) -> String? {
    guard Bytes(answer[6..<12]) == wireForm(SentryScene.guestMAC) else { return "a foreign source" }
    var start = 12
    while number(answer, start, 2) == 0x8100 || number(answer, start, 2) == 0x88a8 { start += 4 }
    guard answer[12..<start + 2] == frame[12..<start + 2] else { return "other tags" }
    let type = number(answer, start, 2)
    start += 2
    if type == 0x0806 {
      return Bytes(answer[start + 8..<start + 18]) == wireForm(SentryScene.guestMAC)
        + wireForm(scene.guest)
        ? nil : "a false ARP claim"
    }
    let isIPv6 = type == 0x86dd
    let source = Bytes(isIPv6 ? answer[start + 8..<start + 24] : answer[start + 12..<start + 16])
    let isReport = isIPv6 ? answer[start + 6] == 0 : answer[start + 9] == 2
    guard source == wireForm(scene.guest) || isReport else { return "a foreign address" }
    guard answer[start + (isIPv6 ? 6 : 9)] == 6 else { return nil }

    let reply = start + (isIPv6 ? 40 : 20)
    let probe = reply
    guard number(answer, reply + 4, 4) == UInt64(scene.guestSequence) else { return "SEQ" }
    guard number(answer, reply + 8, 4) == UInt64(scene.guestAcknowledgement) else { return "ACK" }
    guard answer[reply + 13] == 0x10 else { return "flags" }
    guard number(answer, reply + 14, 2) == UInt64(scene.guestWindow) else { return "window" }
    guard answer.count == reply + Int(answer[reply + 12] >> 4) * 4 else { return "payload" }
    guard number(frame, probe + 4, 4) == UInt64(scene.guestAcknowledgement &- 1) else {
      return "probe's SEQ"
    }
    guard number(frame, probe + 8, 4) == UInt64(scene.guestSequence) else { return "probe's ACK" }
    guard frame[probe + 13] & 0x37 == 0x10 else { return "probe's flags" }
    let total = isIPv6 ? 40 + Int(number(frame, start + 4, 2)) : Int(number(frame, start + 2, 2))
    let payload = total - (probe - start) - Int(frame[probe + 12] >> 4) * 4
    guard (0...1).contains(payload) else { return "probe's length" }
    guard scene.wire.timestamps else { return answer.count == reply + 20 ? nil : "options" }
    guard number(answer, reply + 24, 4) == UInt64(scene.guestTimestamp) else { return "TSval" }
    let echo = Bytes(answer[reply + 28..<reply + 32])
    let options = frame[probe + 20..<probe + Int(frame[probe + 12] >> 4) * 4]
    return options.indices.dropLast(3).contains { Bytes(options[$0..<$0 + 4]) == echo }
      ? nil : "TSecr"
  }
}
