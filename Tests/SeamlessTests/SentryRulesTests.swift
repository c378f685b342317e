import Frames
import Seamless
import SentryProcess
import Testing

@Suite("Rules of a sleeping VM")
struct SentryRulesTests {
  typealias Wire = SentryScene.Wire

  private func rule(
    _ verdict: Rule.Verdict, from source: Rule.Network? = nil, _ transport: Rule.Transport = .any,
    _ ports: ClosedRange<UInt16>? = nil
  ) -> Rule {
    Rule(source: source, transport: transport, ports: ports, verdict: verdict)
  }

  private func asleep(_ wire: Wire, _ rules: Rule..., host: [Rule] = []) throws -> SentryScene {
    let scene = try SentryScene(wire)
    scene.establish()
    scene.sentry.rules = RuleTable(own: rules, host: host)
    return scene
  }

  private func syn(_ scene: SentryScene, to port: Int = 9100, from source: Int = 50_000) -> Bytes {
    scene.peerSegment {
      $0.flags = .syn
      $0.sourcePort = source
      $0.destinationPort = port
      $0.acknowledgement = 0
      $0.sequence = 7
    }
  }

  private func datagram(_ scene: SentryScene, to port: Int = 161) -> Bytes {
    scene.fromPeer(
      ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 5000, to: port)))
  }

  @Test("The first rule that matches holds, the VM's own before the host's", arguments: Wire.plain)
  func order(_ wire: Wire) throws {
    let scene = try asleep(
      wire, rule(.ignore, .tcp, 9100...9100), rule(.wake, .tcp, 9000...9200),
      host: [rule(.ignore, .tcp)])
    #expect(scene.judge(syn(scene)) == .ignore(.rule))
    #expect(scene.judge(syn(scene, to: 9101)).wakes(.syn))
    #expect(scene.judge(syn(scene, to: 80)) == .ignore(.rule))
    #expect(scene.judge(datagram(scene)).wakes(.udp))
    scene.sentry.rules = RuleTable()
    #expect(scene.judge(syn(scene)).wakes(.syn))
  }

  @Test("A source is a network of its own family", arguments: Wire.plain)
  func sources(_ wire: Wire) throws {
    let lengths = wire.isIPv6 ? [0, 1, 8, 63, 64, 65, 127, 128] : [0, 1, 8, 31, 32]
    for length in lengths {
      let scene = try asleep(
        wire, rule(.ignore, from: Rule.Network(scene(wire).peer, prefixLength: length)))
      #expect(scene.judge(syn(scene)) == .ignore(.rule))
      guard length > 0 else { continue }
      // The last bit that counts is another one.
      let other = flipped(scene.peer, bit: length - 1)
      scene.sentry.rules = RuleTable(own: [
        rule(.ignore, from: Rule.Network(other, prefixLength: length))
      ])
      #expect(scene.judge(syn(scene)).wakes(.syn))
    }
    let stranger: IPAddress =
      wire.isIPv6 ? .v4(IPv4Address(10, 0, 0, 2)) : .v6(IPv6Address(high: 0, low: 0x0a00_0002))
    let other = try asleep(wire, rule(.ignore, from: Rule.Network(stranger, prefixLength: 0)))
    #expect(other.judge(syn(other)).wakes(.syn))
  }

  private func scene(_ wire: Wire) throws -> SentryScene { try SentryScene(wire) }

  private func flipped(_ address: IPAddress, bit: Int) -> IPAddress {
    switch address {
    case .v4(let address): .v4(IPv4Address(rawValue: address.rawValue ^ 1 << UInt32(31 - bit)))
    case .v6(let address):
      bit < 64
        ? .v6(IPv6Address(high: address.high ^ 1 << UInt64(63 - bit), low: address.low))
        : .v6(IPv6Address(high: address.high, low: address.low ^ 1 << UInt64(127 - bit)))
    }
  }

  @Test("What is answered, held or ignored anyway, rules do not change", arguments: Wire.plain)
  func unasked(_ wire: Wire) throws {
    let scene = try asleep(wire, rule(.ignore))
    // Echo requests are answered where the guest was seen to.
    scene.hear(scene.echoReply(), .fromGuest)
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
    #expect(scene.judge(scene.question(about: scene.guest)) == .answer(1))
    #expect(scene.judge(scene.echoRequest()) == .answer(1))
    let reset = scene.peerSegment {
      $0.flags = .rst; $0.sequence &+= 1
    }
    #expect(scene.judge(reset) == .hold(.rst, scene.flow))
    let payload = scene.peerSegment {
      $0.sequence &+= 1; $0.payload = [1, 2, 3]
    }
    #expect(scene.judge(payload) == .ignore(.rule))
  }

  @Test("A refusal of a SYN acknowledges all of it", arguments: Wire.all)
  func refusedSYN(_ wire: Wire) throws {
    let scene = try asleep(wire, rule(.refuse))
    for (payload, options) in [(0, Bytes()), (5, [2, 4, 5, 0xb4, 4, 2, 1, 1]), (1, [3, 3, 7, 0])] {
      let frame = scene.peerSegment {
        $0.flags = [.syn, .ece, .cwr]
        $0.sourcePort = 50_000
        $0.destinationPort = 9100
        $0.acknowledgement = 0x1234
        $0.sequence = 0xffff_fffe
        $0.options = options
        $0.payload = Bytes(repeating: 9, count: payload)
      }
      #expect(scene.judge(frame) == .answer(1))
      let answer = try #require(scene.answers.first)
      #expect(defect(in: answer) == nil)
      let segment: Bytes =
        be16(9100) + be16(50_000) + be32(0) + be32(0xffff_ffff &+ UInt32(payload))
        + [0x50, 0x14] + be16(0)
      #expect(Bytes(answer[(answer.count - 20)..<(answer.count - 4)]) == segment)
      #expect(Bytes(answer[(answer.count - 2)...]) == [0, 0])
      #expect(Bytes(answer[..<6]) == wireForm(SentryScene.peerMAC))
      guard case .ip(let packet) = try parse(answer) else { return }
      #expect(packet.source == scene.guest && packet.destination == scene.peer)
      #expect(packet.hopLimit == 63 && packet.trafficClass == 0)
    }
  }

  @Test("Nothing that could belong to a connection is refused", arguments: Wire.plain)
  func refusedOnlyAtTheBeginning(_ wire: Wire) throws {
    let scene = try asleep(wire, rule(.refuse))
    let frames = [
      scene.peerSegment {
        $0.sequence &+= 1; $0.payload = [1]
      },
      scene.peerSegment {
        $0.flags = .syn; $0.sequence &+= 1
      },
      scene.peerSegment { $0.sourcePort = 50_001 },
      scene.peerSegment {
        $0.sourcePort = 50_001; $0.flags = [.syn, .ack]
      },
      scene.peerSegment {
        $0.sourcePort = 50_001; $0.flags = [.syn, .fin]
      },
    ]
    for frame in frames {
      #expect(scene.judge(frame) == .ignore(.rule))
      #expect(scene.answers.isEmpty)
    }
    // They have not used up what may wake it out of doubt.
    for _ in 0..<40 { _ = scene.judge(frames[2]) }
    scene.sentry.rules = RuleTable()
    for _ in 0..<10 { #expect(scene.judge(frames[2]).wakes(.unknownFlow)) }
    #expect(scene.judge(frames[2]) == .ignore(.wakeLimit))
  }

  @Test(
    "A refused datagram is quoted, six times at once and then once a second", arguments: Wire.plain)
  func refusedDatagram(_ wire: Wire) throws {
    let scene = try asleep(wire, rule(.refuse, .udp))
    let packet = ip(
      scene.peer, scene.guest, 17,
      udp(scene.peer, scene.guest, from: 5000, to: 161, Bytes(repeating: 7, count: 1300)))
    for _ in 0..<6 { #expect(scene.judge(scene.fromPeer(packet)) == .answer(1)) }
    let answer = try #require(scene.answers.first)
    #expect(defect(in: answer) == nil)
    guard case .ip(let error) = try parse(answer) else { return }
    #expect(error.source == scene.guest && error.totalLength == (wire.isIPv6 ? 1280 : 576))
    #expect(error.trafficClass == (wire.isIPv6 ? 0 : 0xc0))
    let start = 14 + (wire.isIPv6 ? 40 : 20)
    #expect(Bytes(answer[start..<start + 2]) == (wire.isIPv6 ? [1, 4] : [3, 3]))
    #expect(Bytes(answer[(start + 4)..<(start + 8)]) == [0, 0, 0, 0])
    #expect(Bytes(answer[(start + 8)...]) == Bytes(packet[..<(answer.count - start - 8)]))
    #expect(scene.judge(scene.fromPeer(packet)) == .ignore(.closedPort))
    scene.now += SentryScene.second
    #expect(scene.judge(scene.fromPeer(packet)) == .answer(1))
    #expect(scene.judge(scene.fromPeer(packet)) == .ignore(.closedPort))
  }

  @Test("What is put off is held without an end", arguments: Wire.plain)
  func deferred(_ wire: Wire) throws {
    let scene = try asleep(wire, rule(.defer(wakeAfterSeconds: nil), .tcp))
    for _ in 0..<1000 {
      #expect(scene.judge(syn(scene)).isDeferred)
      scene.now += SentryScene.second
    }
  }

  @Test("Demand that goes on wakes after the rule's time, and a pause begins it anew")
  func insistence() throws {
    let scene = try asleep(Wire.plain[0], rule(.defer(wakeAfterSeconds: 60), .tcp))
    func after(_ seconds: UInt64) -> Verdict {
      scene.now += seconds * SentryScene.second
      return scene.judge(syn(scene))
    }
    #expect(after(0).isDeferred)
    #expect(after(59).isDeferred)
    #expect(after(1).wakes(.syn))
    // It goes on, though nobody asked for 59 seconds.
    #expect(after(59).wakes(.syn))
    #expect(after(60).isDeferred)
    #expect(after(60).isDeferred)
    #expect(after(30).isDeferred)
    #expect(after(30).wakes(.syn))
    scene.sentry.beginSleep()
    #expect(after(1).isDeferred)
  }

  @Test("Deferred frames are bounded and age", .timeLimit(.minutes(1)))
  func deferredFrames() {
    var frames = DeferredFrames()
    for number in 0..<100 {
      [UInt8](repeating: UInt8(number), count: 60).withUnsafeBytes {
        frames.append($0, at: UInt64(number) * SentryScene.second)
      }
    }
    let now = 100 * SentryScene.second
    #expect(frames.current(at: now).map(\.[0]) == (36..<100).map { UInt8($0) })
    #expect(
      frames.current(at: 200 * SentryScene.second).map(\.[0]) == (73..<100).map { UInt8($0) })
    for number in 0..<100 {
      [UInt8](repeating: UInt8(number), count: 9000).withUnsafeBytes { frames.append($0, at: now) }
    }
    let kept = frames.current(at: now)
    #expect(kept.count == (128 << 10) / 9000 && kept.last?.first == 99)
  }

  @Test("What a rule does not let wake the VM does not keep it awake", arguments: Wire.plain)
  func use(_ wire: Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let request = scene.peerSegment {
      $0.payload = [1, 2]; $0.sequence &+= 1
    }
    let answer = scene.guestSegment { $0.payload = [3, 4] }
    #expect(scene.hear(request, .toGuest) == .payload)
    for verdict in [Rule.Verdict.ignore, .refuse, .defer(wakeAfterSeconds: 5)] {
      scene.learner.rules = RuleTable(host: [rule(verdict, .tcp, 22...22)])
      let before = scene.learner.summary.framesOfUse
      #expect(scene.hear(request, .toGuest) == .ruledOut)
      #expect(scene.hear(answer, .fromGuest) == .ruledOut)
      #expect(scene.learner.summary.framesOfUse == before)
      #expect(scene.hear(datagram(scene), .toGuest) == .datagram)
    }
    scene.learner.rules = RuleTable(own: [rule(.wake)], host: [rule(.ignore)])
    #expect(scene.hear(answer, .fromGuest) == .payload)
  }

  @Test("Two full lists cost a frame little", .timeLimit(.minutes(1)))
  func cost() throws {
    let full = (0..<RuleTable.limit).map {
      rule(.ignore, .tcp, UInt16($0)...UInt16($0))
    }
    let scene = try asleep(Wire.plain[1])
    scene.sentry.rules = RuleTable(own: full, host: full)
    let frame = syn(scene)
    let clock = ContinuousClock()
    let time = clock.measure {
      for _ in 0..<20_000 { #expect(scene.judge(frame).wakes(.syn)) }
    }
    print("a frame past 128 rules: \(time / 20_000)")
    #expect(time < .seconds(20))
  }
}

extension Verdict {
  fileprivate var isDeferred: Bool {
    if case .hold(.deferred, _) = self { true } else { false }
  }
}

extension SentryScene {
  /// The connection of `establish()`, as the peer's segments show it.
  fileprivate var flow: FlowDescription? {
    guard
      case .hold(_, let flow) = judge(
        peerSegment {
          $0.flags = .rst; $0.sequence &+= 1
        })
    else {
      return nil
    }
    return flow
  }
}
