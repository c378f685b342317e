import Frames
import Seamless
import Testing

private typealias Wire = SentryScene.Wire

@Suite("Learning from an awake guest")
struct SentryLearnerTests {
  private let plain = SentryScene.Wire(isIPv6: false, timestamps: true)

  private func onlyCursor(_ scene: SentryScene) -> Cursor? {
    var found: Cursor?
    scene.table.forEachFlow { found = $0 }
    return found
  }

  @Test("The cursor is where the guest and its peer are", arguments: Wire.all)
  func cursor(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let cursor = try #require(onlyCursor(scene))
    #expect(cursor.guestSequence == scene.guestSequence)
    #expect(cursor.guestAcknowledgement == scene.guestAcknowledgement)
    #expect(cursor.guestWindow == UInt16(scene.guestWindow))
    #expect(cursor.peerAcknowledgement == scene.guestSequence)
    #expect(cursor.peerEnd == scene.guestAcknowledgement)
    #expect(cursor.flags.contains(.timestamps) == wire.timestamps)
    #expect(!cursor.flags.contains(.handshake))
    if wire.timestamps {
      #expect(cursor.guestTimestamp == scene.guestTimestamp)
      #expect(cursor.peerTimestamp == scene.peerTimestamp)
    }
    #expect(scene.table.addresses.map(\.evidence) == [.proven])
    #expect(scene.table.addresses.map(\.network) == [wire.tag.map { UInt32($0) << 16 } ?? 0])
    #expect((wire.isIPv6 ? scene.table.hopLimit : scene.table.timeToLive) == 63)
  }

  @Test("A tag that the kernel has taken out counts like one in the frame")
  func strippedTag() throws {
    let scene = try SentryScene(Wire(isIPv6: false, timestamps: true, tag: 5))
    var frame = scene.assertion(of: scene.guest)
    frame.removeSubrange(12..<16)
    frame.withUnsafeBytes {
      _ = scene.learner.observe($0, strippedTag: 0xe005, direction: .fromGuest, at: scene.now)
    }
    #expect(scene.judge(scene.question(about: scene.guest)) == .answer(1))
  }

  @Test("A retransmission does not move the cursor back, a keepalive not at all")
  func retransmission() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    let before = try #require(onlyCursor(scene))
    let sequence = scene.guestSequence
    #expect(
      scene.hear(
        scene.guestSegment {
          $0.sequence = sequence &- 20; $0.payload = Bytes(repeating: 1, count: 5)
        },
        .fromGuest) == .payload)
    #expect(
      scene.hear(scene.guestSegment { $0.sequence = sequence &- 1 }, .fromGuest) == .acknowledgement
    )
    #expect(
      scene.hear(
        scene.guestSegment {
          $0.sequence = sequence &- 1; $0.payload = [0]
        }, .fromGuest)
        == .acknowledgement)
    let after = try #require(onlyCursor(scene))
    #expect(after.guestSequence == before.guestSequence)
    #expect(after.guestAcknowledgement == before.guestAcknowledgement)
  }

  @Test("A flow noticed by the guest's keepalive is put right by the answer")
  func noticedByKeepalive() throws {
    let scene = try SentryScene(plain)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    scene.guestSequence = 0
    scene.guestAcknowledgement = 500
    scene.hear(scene.guestSegment { $0.sequence = .max }, .fromGuest)
    scene.hear(scene.peerSegment { $0.sequence = 500 }, .toGuest)
    #expect(onlyCursor(scene)?.guestSequence == 0)
    scene.now += 60 * SentryScene.second
    #expect(scene.obstacles == [])
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
  }

  @Test(
    "A flow ends with a RST of either side, or with both FINs acknowledged", arguments: Wire.plain)
  func ends(_ wire: SentryScene.Wire) throws {
    let guestReset = try SentryScene(wire)
    guestReset.establish()
    guestReset.hear(guestReset.guestSegment { $0.flags = .rst }, .fromGuest)
    #expect(guestReset.table.flowCount == 0)

    let peerReset = try SentryScene(wire)
    peerReset.establish()
    let expected = peerReset.guestAcknowledgement
    peerReset.hear(
      peerReset.peerSegment {
        $0.flags = .rst; $0.sequence = expected &+ 1
      }, .toGuest)
    #expect(peerReset.table.flowCount == 1)
    peerReset.hear(
      peerReset.peerSegment {
        $0.flags = .rst; $0.sequence = expected
      }, .toGuest)
    #expect(peerReset.table.flowCount == 0)

    let closed = try SentryScene(wire)
    closed.establish()
    closed.hear(closed.guestSegment { $0.flags = [.fin, .ack] }, .fromGuest)
    closed.guestSequence &+= 1
    guard case .finishInFlight? = closed.obstacles.first else {
      Issue.record("a FIN in flight does not forbid sleep")
      return
    }
    closed.hear(
      closed.peerSegment {
        $0.flags = [.fin, .ack]; $0.sequence = closed.guestAcknowledgement
      }, .toGuest)
    #expect(closed.table.flowCount == 1)
    closed.guestAcknowledgement &+= 1
    closed.hear(closed.guestSegment(), .fromGuest)
    #expect(closed.table.flowCount == 0)
  }

  @Test("A half-closed flow may sleep, and its keepalives are answered")
  func halfClosed() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    scene.hear(
      scene.peerSegment {
        $0.flags = [.fin, .ack]; $0.sequence = scene.guestAcknowledgement
      }, .toGuest)
    #expect(scene.obstacles != [])
    scene.guestAcknowledgement &+= 1
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(scene.obstacles == [])
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
  }

  @Test("What is in flight forbids sleep until it is settled")
  func obstacles() throws {
    let scene = try SentryScene(plain)
    #expect(scene.obstacles.contains(.settling))
    #expect(scene.obstacles.contains(.noAddress))
    scene.establish()
    #expect(scene.obstacles == [])

    func only() -> Obstacle? {
      let found = scene.obstacles
      return found.count == 1 ? found[0] : nil
    }
    scene.hear(scene.guestSegment { $0.payload = [1, 2, 3] }, .fromGuest)
    scene.guestSequence &+= 3
    guard case .unacknowledged(let flow, bytes: 3)? = only() else {
      Issue.record("unacknowledged data do not forbid sleep")
      return
    }
    #expect(flow.description == "tcp 10.0.0.7:22 > 10.0.0.2:40000")
    scene.hear(
      scene.peerSegment {
        $0.sequence = scene.guestAcknowledgement; $0.window = 0
      }, .toGuest)
    guard case .peerWindowClosed? = only() else {
      Issue.record("a closed window of the peer does not forbid sleep")
      return
    }
    scene.hear(scene.peerSegment { $0.sequence = scene.guestAcknowledgement }, .toGuest)
    #expect(scene.obstacles == [])

    scene.hear(
      scene.peerSegment {
        $0.sequence = scene.guestAcknowledgement; $0.payload = [1]
      }, .toGuest)
    guard case .undelivered? = only() else {
      Issue.record("data that the guest has not taken do not forbid sleep")
      return
    }
    scene.guestAcknowledgement &+= 1
    scene.hear(scene.guestSegment { $0.window = 0 }, .fromGuest)
    guard case .guestWindowClosed? = only() else {
      Issue.record("a closed window of the guest does not forbid sleep")
      return
    }
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(scene.obstacles == [])

    scene.hear(
      scene.guestSegment {
        $0.flags = .syn; $0.destinationPort = 80
      }, .fromGuest)
    guard case .handshake? = only() else {
      Issue.record("a handshake does not forbid sleep")
      return
    }
    // The guest has given up by then.
    scene.now += 150 * SentryScene.second
    #expect(scene.obstacles == [])
    for obstacle in [Obstacle.settling, .noAddress, .tooManyAddresses, .foreignSource(.broadcast)] {
      #expect(!obstacle.description.isEmpty)
    }
  }

  @Test("Use forbids sleep for a moment, and a question until it is answered or old")
  func use() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    scene.now += 10 * SentryScene.second
    let quiescence = { scene.learner.quiescence(at: scene.now) }
    #expect(quiescence() == [])
    let sequence = scene.guestAcknowledgement
    scene.hear(
      scene.peerSegment {
        $0.sequence = sequence; $0.payload = [1]
      }, .toGuest)
    scene.guestAcknowledgement &+= 1
    // The kernel's acknowledgement is no answer.
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(quiescence() == [.usedJustNow, .unanswered])
    scene.now += SentryScene.second
    #expect(quiescence() == [.unanswered])
    scene.now += SentryScene.second
    #expect(quiescence() == [])

    scene.hear(
      scene.peerSegment {
        $0.sequence = sequence &+ 1; $0.payload = [2]
      }, .toGuest)
    scene.guestAcknowledgement &+= 1
    scene.hear(scene.guestSegment { $0.payload = [3] }, .fromGuest)
    scene.guestSequence &+= 1
    scene.hear(scene.peerSegment { $0.sequence = sequence &+ 2 }, .toGuest)
    #expect(quiescence() == [.usedJustNow])
    scene.now += SentryScene.second / 2
    #expect(quiescence() == [])
  }

  @Test("An established flow that was just noticed forbids sleep for a moment")
  func newFlow() throws {
    let scene = try SentryScene(plain)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    scene.now += 60 * SentryScene.second
    scene.hear(scene.guestSegment(), .fromGuest)
    guard case .newFlow? = scene.obstacles.first else {
      Issue.record("a new flow does not forbid sleep")
      return
    }
    scene.now += 3 * SentryScene.second
    #expect(scene.obstacles == [])
  }

  @Test(
    "A peer that acknowledges what the guest never sent is not believed for long",
    arguments: [TCPFlags.ack, []])
  func acknowledgementOfNothing(flags: TCPFlags) throws {
    let scene = try SentryScene(plain)
    scene.establish()
    scene.learner.invalidate(at: scene.now)
    scene.hear(scene.guestSegment(), .fromGuest)
    scene.hear(
      scene.peerSegment {
        $0.flags = flags; $0.acknowledgement = scene.guestSequence &+ 1
      }, .toGuest)
    if !flags.contains(.ack) {
      #expect(onlyCursor(scene)?.guestSequence == scene.guestSequence)
    }
    scene.hear(scene.guestSegment(), .fromGuest)
    scene.hear(scene.peerSegment(), .toGuest)
    #expect(onlyCursor(scene)?.guestSequence == scene.guestSequence)
    #expect(onlyCursor(scene)?.peerAcknowledgement == scene.guestSequence)
    scene.now += 10 * SentryScene.second
    #expect(scene.obstacles == [])
    #expect(scene.judge(scene.peerSegment()) == .answer(1))
  }

  @Test("After a gap no flow is known and every address is")
  func invalidate() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    scene.learner.invalidate(at: scene.now)
    #expect(scene.table.flowCount == 0 && scene.table.addresses.count == 1)
    #expect(scene.obstacles == [.settling])
    scene.now += SentryScene.second
    #expect(scene.obstacles == [])
    #expect(scene.judge(scene.peerSegment()).wakes(.unknownFlow))
    #expect(scene.learner.summary.invalidations == 1)
  }

  @Test("A frame of the guest's that cannot be read is a gap; one to the guest is not")
  func unreadable() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    #expect(scene.hear(Bytes(scene.peerSegment()[..<40]), .toGuest) == .malformed)
    #expect(scene.table.flowCount == 1)
    #expect(scene.hear(Bytes(scene.guestSegment()[..<40]), .fromGuest) == .malformed)
    #expect(scene.table.flowCount == 0)
    scene.establish()
    let segment = TCPFields(source: scene.guest, destination: scene.peer).bytes
    scene.hear(
      scene.fromGuest(ip(scene.guest, scene.peer, 6, segment, fragment: 0x2000)), .fromGuest)
    #expect(scene.table.flowCount == 0)
  }

  @Test("Strangers create no flows and move no cursor", arguments: Wire.plain)
  func strangers(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let before = try #require(onlyCursor(scene))
    for port in 1...100 {
      scene.hear(
        scene.peerSegment {
          $0.sourcePort = port; $0.flags = .syn
        }, .toGuest)
      scene.hear(
        scene.peerSegment {
          $0.sourcePort = port; $0.payload = [1]
        }, .toGuest)
    }
    #expect(scene.table.flowCount == 1)
    let window = UInt32(scene.guestWindow) << 14
    scene.hear(
      scene.peerSegment {
        $0.sequence &+= window &+ 2; $0.payload = [1]
      }, .toGuest)
    scene.hear(
      scene.peerSegment {
        $0.sequence &+= 1; $0.acknowledgement &+= 1000; $0.timestamps = nil
      }, .toGuest)
    var after = try #require(onlyCursor(scene))
    after.lastSeen = before.lastSeen
    #expect(after == before)
  }

  @Test("Only what somebody uses the VM for counts as use", arguments: Wire.plain)
  func use(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let asked = scene.learner.summary.lastUse
    let frames = scene.learner.summary.framesOfUse
    let group: IPAddress =
      wire.isIPv6
      ? .v6(IPv6Address(high: 0xff02 << 48, low: 0xfb)) : .v4(IPv4Address(224, 0, 0, 251))
    let protocolNumber = wire.isIPv6 ? 58 : 1
    let echo = ip(
      scene.peer, scene.guest, protocolNumber,
      icmp(scene.peer, scene.guest, type: wire.isIPv6 ? 128 : 8, [0, 0, 0, 0]))
    let unused: [(Bytes, Activity)] = [
      (scene.peerSegment(), .acknowledgement),
      (scene.peerSegment { $0.payload = [0] }, .acknowledgement),
      (scene.peerSegment { $0.sequence &+= 1 }, .acknowledgement),
      (scene.question(about: scene.guest), .neighbour),
      (scene.fromPeer(echo), .control),
      (
        scene.fromPeer(
          ip(scene.peer, group, 17, udp(scene.peer, group, from: 5353, to: 5353)),
          to: MACAddress(rawValue: 0x3333_0000_00fb)), .group
      ),
      (
        scene.fromPeer(
          ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 123, to: 40000))),
        .housekeeping
      ),
      (scene.fromPeer(echo, to: MACAddress(rawValue: 0x5254_0011_1111)), .foreign),
    ]
    for (frame, activity) in unused { #expect(scene.hear(frame, .toGuest) == activity) }
    #expect(scene.hear(scene.guestSegment(), .fromGuest) == .acknowledgement)
    #expect(scene.hear(scene.assertion(of: scene.guest), .fromGuest) == .neighbour)
    #expect(scene.learner.summary.lastUse == asked && scene.learner.summary.framesOfUse == frames)

    let used: [(Bytes, Activity)] = [
      (
        scene.peerSegment {
          $0.sequence &+= 1; $0.payload = [0]
        }, .payload
      ),
      (scene.peerSegment { $0.payload = [0, 0] }, .payload),
      (
        scene.peerSegment {
          $0.flags = .syn; $0.sourcePort = 9
        }, .connection
      ),
      (
        scene.peerSegment {
          $0.flags = .rst; $0.sourcePort = 9
        }, .connection
      ),
      (
        scene.peerSegment {
          $0.flags = [.fin, .ack]; $0.sourcePort = 9
        }, .connection
      ),
      (
        scene.fromPeer(
          ip(scene.peer, scene.guest, 17, udp(scene.peer, scene.guest, from: 1, to: 2))),
        .datagram
      ),
      (scene.fromPeer(ip(scene.peer, scene.guest, 132, [1])), .otherUnicast),
    ]
    for (index, (frame, activity)) in used.enumerated() {
      scene.now += SentryScene.second
      #expect(scene.hear(frame, .toGuest) == activity)
      #expect(scene.learner.summary.lastUse == scene.now)
      #expect(scene.learner.summary.framesOfUse == frames + UInt64(index) + 1)
    }
    #expect(scene.learner.summary.frames(of: .datagram) == 1)
  }

  @Test("An address is proven by probing and using it, and doubted when another claims it")
  func evidence() throws {
    let scene = try SentryScene(plain)
    func evidence() -> AddressEvidence? { scene.table.addresses.first?.evidence }
    let probe = ethernet(
      to: .broadcast, from: SentryScene.guestMAC, type: 0x0806,
      arp(1, SentryScene.guestMAC, .v4(.unspecified), .zero, scene.guest))
    scene.hear(probe, .fromGuest)
    #expect(evidence() == .tentative)
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(evidence() == .proven)
    scene.hear(
      ethernet(
        to: .broadcast, from: SentryScene.peerMAC, type: 0x0806,
        arp(1, SentryScene.peerMAC, scene.guest, .zero, scene.guest)), .toGuest)
    #expect(evidence() == .seen)
    #expect(scene.table.flowCount == 1)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(evidence() == .proven)
  }

  @Test("While an address is in doubt, a connection of it that is in use forbids sleep")
  func connectionOfDoubtedAddress() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    scene.now += 10 * SentryScene.second
    #expect(scene.obstacles.isEmpty)
    let claim = ethernet(
      to: .broadcast, from: SentryScene.peerMAC, type: 0x0806,
      arp(1, SentryScene.peerMAC, scene.guest, .zero, scene.guest))
    scene.hear(claim, .toGuest)
    // Another address keeps it able to sleep otherwise.
    let other = IPAddress.v4(IPv4Address(10, 0, 0, 77))
    scene.hear(scene.assertion(of: other), .fromGuest)
    guard case .unprovenAddress? = scene.obstacles.first else {
      Issue.record("\(scene.obstacles)")
      return
    }
    #expect(scene.obstacles.count == 1)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(scene.obstacles.isEmpty)
    // One that nobody uses any more does not.
    scene.hear(claim, .toGuest)
    scene.now += 150 * SentryScene.second
    #expect(scene.obstacles.isEmpty)
  }

  @Test("An address about which questions stay unanswered is forgotten", arguments: Wire.plain)
  func givenUp(_ wire: SentryScene.Wire) throws {
    let scene = try SentryScene(wire)
    scene.establish()
    let question = scene.question(about: scene.guest)
    for _ in 0..<10 { scene.hear(question, .toGuest) }
    #expect(scene.table.addresses.count == 1)
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    scene.now += 5 * SentryScene.second
    scene.hear(question, .toGuest)
    scene.now += SentryScene.second
    scene.hear(question, .toGuest)
    #expect(scene.table.addresses.count == 1)
    scene.now += 2 * SentryScene.second
    scene.hear(question, .toGuest)
    #expect(scene.table.addresses.isEmpty && scene.table.flowCount == 0)
  }

  @Test("Forwarded sources fill no room that the guest's own addresses need")
  func router() throws {
    let scene = try SentryScene(plain)
    for host in 1...40 as ClosedRange<UInt8> {
      let source = IPAddress.v4(IPv4Address(192, 168, 0, host))
      scene.hear(
        scene.fromGuest(ip(source, scene.peer, 17, udp(source, scene.peer, from: 1, to: 2))),
        .fromGuest)
    }
    #expect(scene.table.addresses.count == 16)
    #expect(scene.obstacles.contains(.tooManyAddresses))
    scene.hear(scene.assertion(of: scene.guest), .fromGuest)
    #expect(scene.table.addresses.filter { $0.evidence == .proven }.map(\.address) == [scene.guest])
    #expect(scene.judge(scene.question(about: scene.guest)) == .answer(1))
  }

  @Test("An address that takes another's place does not take its flows")
  func replacedAddress() throws {
    let scene = try SentryScene(plain)
    scene.hear(scene.guestSegment(), .fromGuest)
    #expect(scene.table.flowCount == 1)
    for host in 1...15 as ClosedRange<UInt8> {
      scene.now += SentryScene.second
      scene.hear(scene.assertion(of: .v4(IPv4Address(192, 168, 0, host))), .fromGuest)
    }
    #expect(scene.table.addresses.count == 16 && scene.table.flowCount == 1)
    scene.hear(scene.assertion(of: .v4(IPv4Address(192, 168, 0, 16))), .fromGuest)
    #expect(scene.table.addresses.count == 16 && scene.table.flowCount == 0)
    #expect(!scene.table.addresses.contains { $0.address == scene.guest })
  }

  @Test("The peer's newest timestamp is remembered, across the wrap")
  func peerTimestamp() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    for value in [0x7000_0000, 0xe000_0000, 0xffff_fff0, 3, 1] as [UInt32] {
      scene.hear(
        scene.peerSegment {
          $0.sequence = scene.guestAcknowledgement
          $0.timestamps = (value, scene.guestTimestamp)
        }, .toGuest)
    }
    #expect(onlyCursor(scene)?.peerTimestamp == 3)
    let old = scene.peerSegment { $0.timestamps = (2, scene.guestTimestamp) }
    #expect(scene.judge(old).wakes(.timestamps))
    #expect(
      scene.judge(scene.peerSegment { $0.timestamps = (3, scene.guestTimestamp) }) == .answer(1))
  }

  @Test("A guest that sends as somebody else as well may not sleep")
  func foreignSource() throws {
    let scene = try SentryScene(plain)
    scene.establish()
    let inner = MACAddress(rawValue: 0x0242_ac11_0002)
    scene.hear(
      ethernet(
        to: SentryScene.peerMAC, from: inner, type: 0x0806,
        arp(1, inner, scene.peer, .zero, scene.peer)),
      .fromGuest)
    #expect(scene.obstacles == [.foreignSource(inner)])
    scene.now += 600 * SentryScene.second
    #expect(scene.obstacles == [])
  }
}
