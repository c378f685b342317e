import Frames
import Seamless
import Testing

private typealias Wire = SentryScene.Wire

@Suite("Verdicts on TCP")
struct SentryTCPTests {
  /// What must hold for each answer to a probe, checked on the bytes.
  private func check(_ scene: SentryScene, _ probe: Bytes, echo: UInt32) throws {
    let answer = try #require(scene.answers.first)
    #expect(scene.answers.count == 1)
    #expect(defect(in: answer) == nil)
    #expect(
      Bytes(answer[..<6]) == Bytes(probe[6..<12]) && Bytes(answer[6..<12]) == Bytes(probe[..<6]))
    let header = 12 + 4 * scene.tags.count
    #expect(answer[12..<header + 2] == probe[12..<header + 2])
    guard case .ip(let packet) = try parse(answer), case .tcp(let segment) = packet.transport else {
      Issue.record("the answer is no TCP segment")
      return
    }
    #expect(packet.source == scene.guest && packet.destination == scene.peer)
    #expect(packet.hopLimit == 63)
    #expect(segment.sourcePort == 22 && segment.destinationPort == 40000)
    #expect(segment.flags == .ack && segment.payloadLength == 0)
    #expect(segment.sequence == scene.guestSequence)
    #expect(segment.acknowledgement == scene.guestAcknowledgement)
    #expect(segment.window == UInt16(scene.guestWindow))
    #expect(
      segment.timestamps
        == (scene.wire.timestamps
          ? TCPTimestamps(value: scene.guestTimestamp, echo: echo) : nil))
  }

  @Test("A keepalive is answered with what the guest last said", arguments: Wire.all)
  func keepalive(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    #expect(scene.obstacles == [])
    // The timestamp of a keepalive without payload is none that the guest would remember.
    var echo = scene.peerTimestamp
    for length in [0, 1, 0] {
      let probe = scene.peerSegment { $0.payload = Bytes(repeating: 0, count: length) }
      if length == 1 { echo &+= 100 }
      #expect(scene.judge(probe) == .answer(1))
      try check(scene, probe, echo: echo)
    }
  }

  @Test("A byte that has come before is told of as the guest would", arguments: Wire.plain)
  func duplicateByte(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish(options: [4, 2])
    let probe = scene.peerSegment { $0.payload = [0] }
    #expect(scene.judge(probe) == .answer(1))
    let answer = try #require(scene.answers.first)
    #expect(defect(in: answer) == nil)
    let byte = scene.guestAcknowledgement &- 1
    #expect(Bytes(answer.suffix(12)) == [1, 1, 5, 10] + be32(byte) + be32(byte &+ 1))
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
    #expect(try #require(scene.answers.first).count == answer.count - 12)
  }

  @Test("Segments that only the guest knows to answer wake", arguments: Wire.plain)
  func guestOnly(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let nothing = scene.peerSegment {
      $0.sourcePort = 50_000
      $0.flags = []
    }
    #expect(scene.judge(nothing).wakes(.unknownFlow))
    #expect(scene.judge(scene.peerSegment { $0.flags = [] }) == .ignore(.malformed))
    let old = scene.peerSegment {
      $0.sequence = scene.guestAcknowledgement
      if $0.timestamps != nil { $0.timestamps?.0 = scene.peerTimestamp &- 1 }
    }
    #expect(scene.judge(old).wakes(.timestamps))
    var congested = scene.peerSegment()
    if wire.isIPv6 {
      congested[15] |= 0x30
    } else {
      congested[15] |= 3
      congested.replaceSubrange(24..<26, with: [0, 0])
      congested.replaceSubrange(24..<26, with: be16(slowChecksum(Bytes(congested[14..<34]))))
    }
    #expect(scene.judge(congested).wakes(.unexpectedSegment))
  }

  @Test(
    "Around the edge of what was received, each segment has its verdict",
    arguments: Wire.plain,
    [0, 1000, 0x7fff_fff0, 0xffff_ffe8, 0xffff_fff4, 0xffff_fff5] as [UInt32])
  func boundary(_ wire: SentryScene.Wire, _ start: UInt32) throws {
    let scene = try SentryScene(wire)
    scene.establish(start: start)
    for offset in -2...1 {
      for length in 0...2 {
        scene.now += 10 * SentryScene.second
        let frame = scene.peerSegment {
          $0.sequence = scene.guestAcknowledgement &+ UInt32(bitPattern: Int32(offset))
          $0.payload = Bytes(repeating: 1, count: length)
        }
        let verdict = scene.judge(frame)
        let place: Comment = "offset \(offset), length \(length): \(verdict)"
        switch (offset, length) {
        case (-1, 0), (-1, 1):
          #expect(verdict == .answer(1), place)
        case (0, 0):
          #expect(verdict == .ignore(.acknowledgement), place)
        case _ where length > 0 && offset + length > 0:
          #expect(verdict.wakes(.payload), place)
        default:
          #expect(verdict.wakes(.unexpectedSegment), place)
        }
      }
    }
  }

  @Test("A late acknowledgement is never answered", arguments: Wire.all)
  func lateAcknowledgement(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    for back in [0, 1, 20] as [UInt32] {
      // Whether an older one is challenged, only the guest knows (RFC 5961, 5.2).
      let frame = scene.peerSegment {
        $0.sequence = scene.guestAcknowledgement
        $0.acknowledgement = scene.guestSequence &- back
      }
      let verdict = scene.judge(frame)
      #expect(
        back == 0 ? verdict == .ignore(.acknowledgement) : verdict.wakes(.unexpectedSegment))
      #expect(scene.replies.count == 0)
    }
    let beyond = scene.peerSegment {
      $0.sequence = scene.guestAcknowledgement
      $0.acknowledgement = scene.guestSequence &+ 1
    }
    #expect(scene.judge(beyond).wakes(.unexpectedSegment))
  }

  @Test("A probe that acknowledges something else wakes", arguments: [-20, -1, 1, 1000] as [Int32])
  func probeWithOtherAcknowledgement(_ offset: Int32) throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: false))
    scene.establish()
    let frame = scene.peerSegment { $0.acknowledgement &+= UInt32(bitPattern: offset) }
    #expect(scene.judge(frame).wakes(.unexpectedSegment))
  }

  @Test("Timestamps must be those of the flow")
  func timestamps() throws {
    let with = try SentryScene(Wire(isIPv6: false, timestamps: true))
    with.establish()
    let sent = with.peerTimestamp
    let echoed = with.guestTimestamp
    #expect(with.judge(with.peerSegment { $0.timestamps = nil }).wakes(.timestamps))
    #expect(with.judge(with.peerSegment { $0.timestamps = (sent &- 1, echoed) }).wakes(.timestamps))
    #expect(with.judge(with.peerSegment { $0.timestamps = (sent, echoed &+ 1) }).wakes(.timestamps))
    #expect(with.judge(with.peerSegment { $0.timestamps = (sent, echoed) }) == .answer(1))
    #expect(with.judge(with.peerSegment { $0.timestamps = (sent, echoed &- 9) }) == .answer(1))
    let without = try SentryScene(Wire(isIPv6: false, timestamps: false))
    without.establish()
    #expect(without.judge(without.peerSegment { $0.timestamps = (1, 1) }).wakes(.timestamps))
  }

  @Test("A new connection wakes, whatever is known of its ports", arguments: Wire.all)
  func syn(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    for port in [40000, 40001] {
      let frame = scene.peerSegment {
        $0.sourcePort = port
        $0.flags = .syn
      }
      guard case .wake(.syn, let flow) = scene.judge(frame) else {
        Issue.record("a SYN does not wake")
        return
      }
      let text = try #require(flow).description
      #expect(
        text
          == (wire.isIPv6
            ? "tcp [fd00::2]:\(port) > [fd00::7]:22" : "tcp 10.0.0.2:\(port) > 10.0.0.7:22"))
    }
    #expect(scene.judge(scene.peerSegment { $0.flags = [.syn, .ack] }).wakes(.unexpectedSegment))
  }

  @Test("The third copy of a FIN wakes, in each sleep anew", arguments: Wire.plain)
  func fin(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let frame = scene.peerSegment {
      $0.flags = [.fin, .ack]
      $0.sequence = scene.guestAcknowledgement
    }
    for _ in 0..<2 {
      scene.sentry.beginSleep()
      #expect(scene.judge(frame).holds(.fin))
      #expect(scene.judge(frame).holds(.fin))
      #expect(scene.judge(frame).wakes(.fin))
    }
    let withData = scene.peerSegment {
      $0.flags = [.fin, .ack]
      $0.sequence = scene.guestAcknowledgement
      $0.payload = [1]
    }
    #expect(scene.judge(withData).wakes(.payload))
    let again = scene.peerSegment {
      $0.flags = [.fin, .ack]
      $0.sequence = scene.guestAcknowledgement &- 1
    }
    #expect(scene.judge(again).wakes(.unexpectedSegment))
  }

  @Test(
    "What a frame with nothing but a priority says is not known to the guest", arguments: Wire.plain
  )
  func priority(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish(options: [4, 2])
    func byte(_ age: UInt32) -> Bytes {
      scene.peerSegment {
        $0.payload = [0]
        $0.timestamps = (scene.peerTimestamp &+ age, scene.guestTimestamp)
      }
    }
    var tagged = byte(50)
    tagged.insert(contentsOf: [0x81, 0, 0x60, 0], at: 12)
    #expect(scene.judge(tagged).wakes(.vlan))
    // It was remembered, if this is older.
    #expect(scene.judge(byte(20)) == .answer(1))
    #expect(scene.judge(byte(10)).wakes(.timestamps))
  }

  @Test("RSTs in the window are held, a few of them; others are nothing")
  func rst() throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: true))
    scene.establish()
    func reset(_ offset: UInt32, port: Int = 40000) -> Verdict {
      scene.judge(
        scene.peerSegment {
          $0.flags = .rst
          $0.sourcePort = port
          $0.sequence = scene.guestAcknowledgement &+ offset
        })
    }
    #expect(reset(.max) == .ignore(.outOfWindow))
    // One that begins before the window and ends in it is a RST.
    let overlapping = scene.peerSegment { $0.flags = [.rst, .syn, .fin] }
    let twin = try SentryScene(scene.wire)
    twin.establish()
    #expect(twin.judge(overlapping).holds(.rst))
    #expect(reset(UInt32(scene.guestWindow) << 14) == .ignore(.outOfWindow))
    #expect(reset(0).holds(.rst))
    #expect(reset(UInt32(scene.guestWindow) << 14 - 1).holds(.rst))
    #expect(reset(0).holds(.rst))
    #expect(reset(0) == .ignore(.heldAlready))
    for _ in 0..<16 { #expect(reset(0, port: 9).holds(.rst)) }
    #expect(reset(0, port: 9) == .ignore(.heldAlready))
  }

  @Test("Segments of unknown flows wake, in a burst and then rarely")
  func unknownFlow() throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: true))
    scene.establish()
    let frame = scene.peerSegment { $0.sourcePort = 41000 }
    for _ in 0..<10 { #expect(scene.judge(frame).wakes(.unknownFlow)) }
    #expect(scene.judge(frame) == .ignore(.wakeLimit))
    scene.now += 9 * SentryScene.second
    #expect(scene.judge(frame) == .ignore(.wakeLimit))
    scene.now += SentryScene.second
    #expect(scene.judge(frame).wakes(.unknownFlow))
    #expect(scene.judge(frame) == .ignore(.wakeLimit))
    // What is certain is not limited.
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
    #expect(
      scene.judge(
        scene.peerSegment {
          $0.sequence &+= 1; $0.payload = [1]
        }
      ).wakes(.payload))
  }

  @Test("Flags that a probe does not have wake; those of congestion do not matter")
  func flags() throws {
    let scene = try SentryScene(Wire(isIPv6: true, timestamps: false))
    scene.establish()
    #expect(scene.judge(scene.peerSegment { $0.flags = [.ack, .urg] }).wakes(.unexpectedSegment))
    #expect(scene.judge(scene.peerSegment { $0.flags = [.ack, .psh, .ece, .cwr] }) == .answer(1))
    #expect(scene.judge(scene.peerSegment { $0.flags = [] }) == .ignore(.malformed))
    #expect(
      scene.judge(scene.peerSegment { $0.options = [19, 18] + Bytes(repeating: 0, count: 16) })
        .wakes(.unexpectedSegment))
    #expect(scene.judge(scene.peerSegment { $0.options = [8, 3, 0, 0] }).wakes(.options))
  }

  @Test("Nothing is answered while the guest's data are unacknowledged")
  func unacknowledged() throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: true))
    scene.establish()
    scene.hear(scene.guestSegment { $0.payload = [1, 2] }, .fromGuest)
    scene.guestSequence &+= 2
    #expect(scene.judge(scene.peerSegment()).wakes(.unexpectedSegment))
  }

  @Test("A flow of an address that the guest has not asserted is not spoken for")
  func forwarded() throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: false))
    scene.guestSequence = 100
    scene.guestAcknowledgement = 200
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(scene.table.flowCount == 1)
    #expect(scene.judge(scene.peerSegment()).wakes(.unexpectedSegment))
  }
}

extension Verdict {
  func wakes(_ reason: WakeReason) -> Bool {
    if case .wake(reason, _) = self { true } else { false }
  }

  func holds(_ reason: HoldReason) -> Bool {
    if case .hold(reason, _) = self { true } else { false }
  }
}
