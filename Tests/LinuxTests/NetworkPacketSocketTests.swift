import Glibc
import LinuxNetwork
import LinuxSystem
import Testing

@Suite struct NetworkPacketSocketTests {
  @Test func learningSeesBothDirectionsCut() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    let learner = try await bench.socket(bench.machineIndex, .learning(snapLength: 40))
    try await waiting {
      #expect(try learner.receive(within: 0) == nil)

      try far.send(experimentalFrame(1, length: 300))
      let toGuest = try #require(try learner.receive())
      #expect(toGuest.bytes == Array(experimentalFrame(1, length: 300).prefix(40)))
      #expect(toGuest.frame.originalLength == 300)
      #expect(toGuest.frame.direction == .toGuest)

      try bench.machineWrite(experimentalFrame(2, length: 400))
      let fromGuest = try #require(try learner.receive())
      #expect(fromGuest.bytes == Array(experimentalFrame(2, length: 400).prefix(40)))
      #expect(fromGuest.frame.originalLength == 400)
      #expect(fromGuest.frame.direction == .fromGuest)
      #expect(fromGuest.frame.vlanTag == nil)
    }
  }

  @Test func learningTellsVLANTags() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    let learner = try await bench.socket(bench.machineIndex, .learning(snapLength: 40))
    try await waiting {
      let plain = experimentalFrame(1)
      let tagged = Array(plain[..<12]) + [0x81, 0, 0x60, 0x2a] + Array(plain[12...])
      try far.send(tagged)
      let seen = try #require(try learner.receive())
      #expect(seen.frame.vlanTag == 0x602a)
      #expect(seen.bytes == Array(plain.prefix(40)))
      #expect(seen.frame.originalLength == plain.count)
      // Who reads the tap gets the tag within the frame, detoured or not.
      #expect(bench.machineRead() == tagged)
      try bench.detourOn()
      try far.send(tagged)
      #expect(bench.detourRead() == tagged)
    }
  }

  @Test func learnerIsBlindToTheDetour() async throws {
    let bench = try await NetworkBench.make()
    let far = try await bench.clientSocket(.injecting)
    let learner = try await bench.socket(bench.machineIndex, .learning(snapLength: 100))
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      try bench.detourOn()
      try far.send(experimentalFrame(1))
      #expect(bench.detourRead() != nil)
      try injector.send(experimentalFrame(2))
      #expect(bench.machineRead() != nil)
      #expect(try learner.receive(within: 0) == nil)
      // What the sentry says in the guest's name looks like the guest's own.
      try bench.detourWrite(experimentalFrame(3))
      #expect(try learner.receive()?.frame.direction == .fromGuest)
    }
  }

  @Test func lostFramesAreCounted() async throws {
    let bench = try await NetworkBench.make()
    let learner = try await bench.socket(
      bench.machineIndex, .learning(snapLength: 40), receiveBuffer: 8192)
    try await waiting {
      for _ in 0..<50 { try bench.machineWrite(experimentalFrame(1)) }
      var fetched = 0
      while try learner.receive(within: 0) != nil { fetched += 1 }
      let statistics = try learner.statistics()
      #expect(statistics.received == 50)
      #expect(statistics.dropped == 50 - fetched)
      #expect(statistics.dropped > 0)
      #expect(try learner.statistics() == (received: 0, dropped: 0))
    }
  }

  @Test func injectorReceivesNothing() async throws {
    let bench = try await NetworkBench.make()
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      try bench.machineWrite(experimentalFrame(1))
      #expect(try injector.receive(within: 20) == nil)
    }
  }

  @Test func errorsSayWhatIsWrong() async throws {
    let bench = try await NetworkBench.make()
    let missing = await bench.host.failure {
      _ = try PacketSocket.open(onInterface: 9999, mode: .learning(snapLength: 40))
    }
    #expect(missing?.code == .notFound)
    let injector = try await bench.socket(bench.machineIndex, .injecting)
    try await waiting {
      try bench.netlink.setUp(bench.machineIndex, up: false)
      #expect(
        #expect(throws: LinuxError.self) { try injector.send(experimentalFrame(1)) }?.errno
          == .networkDown)
    }
  }
}
