import TestBed
import Testing

/// What the VM's own link sees of it.
extension PresenceTests {
  @Test("Whoever tries to take its addresses is told what the guest would have told it")
  func duplicateAddresses() async throws {
    try await withOnlooker { onlooker in
      let awake = try await tryToTake(onlooker)
      var asleep: [[UInt8]] = []
      try await onlooker.whileAsleep { asleep = try await tryToTake(onlooker) }
      #expect(asleep == awake)
    }
  }

  @Test("A machine that takes an address of its wakes it; connections of that address live on")
  func takenAddress() async throws {
    try await withOnlooker { onlooker in
      let sender = try await FrameSender(on: onlooker.client)
      let address = scene.guest.addresses.ipv4
      let echo = try await EchoConnection(from: onlooker.client, to: address)
      try await echo.echo(Array("mine".utf8), within: Self.patience)
      let mac = try #require(
        onlooker.wire.passages.last { $0.origin == .client && $0.frame.count >= 12 }?.frame[6..<12])
      // An announcement (RFC 5227, 2.3), to the guest alone, so that nobody else believes it.
      let announcement = TestFrames.arpRequest(from: Array(mac), address, for: address)
      try await scene.sleepAtOnce()
      let (mark, event) = (try onlooker.watch.mark(), try await scene.eventMark())
      try sender.send(
        TestFrames.bytes(ofMAC: scene.guest.addresses.macAddress) + announcement.dropFirst(6))
      try await scene.event(.awake, after: event, within: Self.patience)
      // Who has the address is in doubt: nobody could answer the connection's keepalives for the guest.
      try await eventually("sleep to be refused for the doubt", within: Self.patience) {
        try await refusal()?.contains("a connection's address may not be the guest's") == true
          ? () : nil
      }
      // This guest's kernel does not defend its addresses, either.
      #expect(
        try onlooker.watch.sightings(after: mark).allSatisfy {
          !$0.frame[12..<14].elementsEqual([0x08, 0x06]) || $0.speaker == .guest
        })
      // It does say whose the address is when it is asked.
      let probe = try await Command.outcome(
        of: ["nsenter", "--net=/run/netns/" + onlooker.client.namespace.name]
          + ["busybox", "arping", "-I", "eth0", "-c", "1", "-w", "5", address])
      #expect(probe.succeeded, "\(probe.output)")
      let answers = try onlooker.watch.mark()
      try await onlooker.whileAsleep { try await onlooker.untilAnswered(after: answers) }
      try await onlooker.wakes {
        try await echo.echo(Array("still mine".utf8), within: Self.patience)
      }
      try echo.finishSending()
      try await echo.waitForEnd(within: Self.patience)
    }
  }

  /// A Linux machine gives itself the VM's addresses, IPv4 after a probe (RFC 5227), IPv6 by itself
  /// (RFC 4862), and finds out that they are taken.
  ///
  /// - Returns: the frames that it was told so by.
  private func tryToTake(_ onlooker: Onlooker) async throws -> [[UInt8]] {
    let (namespace, addresses) = (onlooker.client.namespace, scene.guest.addresses)
    let mark = try onlooker.watch.mark()
    let probe = try await Command.outcome(
      of: ["nsenter", "--net=/run/netns/" + namespace.name]
        + ["busybox", "arping", "-D", "-I", "eth0", "-c", "2", "-w", "5", addresses.ipv4])
    #expect(!probe.succeeded, "nobody claims the address: \(probe.output)")
    try await namespace.run("ip", "address", "add", addresses.ipv6 + "/64", "dev", "eth0")
    try await eventually("the address to be a duplicate", within: Self.patience) {
      try await namespace.run("ip", "-6", "address", "show", "dev", "eth0", "to", addresses.ipv6)
        .contains("dadfailed") ? () : nil
    }
    try await namespace.run("ip", "address", "delete", addresses.ipv6 + "/64", "dev", "eth0")
    return try onlooker.watch.sightings(after: mark).map(\.frame).filter { frame in
      // ARP replies, and neighbour advertisements about the address to all nodes.
      frame[12..<14].elementsEqual([0x08, 0x06]) && frame[21] == 2
        || frame.count >= 78 && frame[12..<14].elementsEqual([0x86, 0xdd]) && frame[20] == 58
          && frame[54] == 136 && frame[38] == 0xff
          && frame[62..<78].elementsEqual(TestFrames.bytes(ofAddress: addresses.ipv6))
    }
  }

  @Test("Behind a bridge that snoops it stays in its groups, and is found")
  func snoopingBridge() async throws {
    try await withOnlooker { onlooker in
      let tap = try #require(try await scene.machine().networks.first?.tap)
      let bridge = try await SnoopingBridge(on: scene.network, port: tap, querySeconds: 1)
      // A group of each family that the guest has joined for an application, and its own.
      try await scene.guest.run(
        "systemd-run --quiet --unit=group4 socat UDP4-RECVFROM:5000,ip-add-membership=239.1.2.3:eth0,fork PIPE;"
          + "systemd-run --quiet --unit=group6 socat UDP6-RECVFROM:5001,ipv6-join-group=[ff05::1:3]:eth0,fork PIPE",
        from: scene.client)
      let groups: Set = [
        "239.1.2.3", "ff05::1:3",
        SnoopingBridge.solicitedNode(of: scene.guest.addresses.ipv6),
      ]
      try await eventually("the bridge to know the groups", within: Self.patience) {
        try await bridge.groups().isSuperset(of: groups) ? () : nil
      }
      let mark = try onlooker.watch.mark()
      try await onlooker.whileAsleep {
        let found = try await bridge.violations(
          of: groups, scene.guest, from: onlooker.client,
          for: .seconds(bridge.memorySeconds + 2), every: .milliseconds(300))
        #expect(found == [])
      }
      // By reports of the sentry's, in both families.
      let reports = try onlooker.watch.sightings(after: mark).filter { $0.speaker == .sentry }
      #expect(
        reports.contains { $0.frame[12..<14].elementsEqual([0x08, 0x00]) && $0.frame[23] == 2 })
      #expect(
        reports.contains {
          $0.frame.count >= 63 && $0.frame[12..<14].elementsEqual([0x86, 0xdd])
            && $0.frame[20] == 0 && $0.frame[62] == 143
        })
      try await bridge.stop()
    }
  }
}
