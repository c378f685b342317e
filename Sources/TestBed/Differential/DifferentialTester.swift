import API
import Glibc
import LinuxSystem
import Seamless

/// Sends the same frames to a guest asleep, where the sentry answers for it, and awake, and compares.
///
/// A round is one sleep. All frames are judged by the sentry's own logic on a copy of what the sentry
/// knows. Those that would wake the guest are left to it, which is always right; one per round is really
/// sent and ends the sleep. All others go to the real sentry, whose answers must be those of its logic,
/// and then to the awake guest.
///
/// The guest's own limits are lifted, so that it answers as if the frames came minutes apart:
/// `tcp_invalid_ratelimit`, `icmp_ratelimit`, `icmp_msgs_per_sec` and `icmp_msgs_burst`, and their IPv6
/// counterparts.
public struct DifferentialTester: Sendable {
  private let network: LabNetwork
  private let daemon: LabDaemon
  private let guest: Guest
  private let control: LabClient
  private let wire: DifferentialWire
  private let addresses: DifferentialGuest
  private let stations: [DifferentialStation]

  private static let stationCount = 40
  private static let flowCount = 36
  private static let victimsPerRound = 8
  /// How many ICMP errors the sentry sends in any case; it is allowed one more a second.
  private static let errorsAtOnce = 5
  private static let patience = Duration.seconds(60)

  /// Boots the guest and prepares it.
  public init(in lab: Lab) async throws {
    network = try await lab.makeNetwork()
    // Broken reports and queries must pass the bridge.
    try await network.host.run(
      "ip", "link", "set", network.bridge, "type", "bridge", "mcast_snooping", "0")
    control = try await network.addClient()
    let client = try await network.addClient()
    // The kernel of the client says nothing of its own.
    try await client.namespace.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    try await client.namespace.run("ip", "address", "flush", "dev", "eth0")
    daemon = try LabDaemon(on: network, in: lab)
    TestFailureLog.add(daemon.stateDirectory + "/sentry.log")
    guest = try await Guest("twin", on: network, in: lab)
    addresses = DifferentialGuest(guest.addresses)
    let number = network.number
    stations = (0...Self.stationCount).map { DifferentialStation($0, network: number) }
    wire = try await DifferentialWire(on: client, guest: addresses.mac, stations: stations)
    try await daemon.start()
    try await daemon.create(guest, memoryMegabytes: 256)
    _ = try await daemon.client.start(guest.name)
    try await guest.waitUntilUp(from: control)
    try await prepareGuest()
  }

  public func tearDown() async {
    await daemon.tearDown()
    network.remove()
  }

  private func prepareGuest() async throws {
    guard let tap = try await daemon.client.show(guest.name).networks.first?.tap else {
      throw TestBedError(code: .malformed, message: "the guest has no tap")
    }
    // Frames that say to come from the guest must not lead its traffic away.
    try await network.host.run(
      "bridge", "fdb", "replace", guest.addresses.macAddress, "dev", tap, "master", "static",
      "sticky")
    var lines = [
      "set -e",
      "for file in ipv4/tcp_invalid_ratelimit ipv4/icmp_ratelimit ipv6/icmp/ratelimit; do",
      "  echo 0 > /proc/sys/net/$file; done",
      "echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_per_sec",
      "echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_burst",
      "for family in 4 6; do for n in 1 2 3; do",
      "  echo 65536 > /proc/sys/net/ipv$family/neigh/default/gc_thresh$n; done; done",
      "ip address add \(DifferentialGenerator.ipv4Group)/32 dev eth0 autojoin",
      "ip address add \(DifferentialGenerator.ipv6Group)/128 dev eth0 autojoin",
    ]
    for station in stations {
      for address in station.addressTexts {
        lines.append(
          "ip neighbour replace \(address) lladdr \(station.macText) nud permanent dev eth0")
      }
    }
    try await guest.run(lines.joined(separator: "\n"), from: control, within: Self.patience)
  }

  /// Runs the tester.
  ///
  /// - Parameters:
  ///   - count: how many frames are judged.
  ///   - seed: of the random choices.
  ///   - framesPerRound: how many frames there are to a sleep.
  ///   - only: the numbers of some frames, to see again what became of them; nil for all.
  ///   - report: told now and then how far it is, and of each difference.
  public func run(
    frames count: Int, seed: UInt64, framesPerRound: Int = 1_250, only: ClosedRange<Int>? = nil,
    report: @Sendable (String) -> Void = { _ in }
  ) async throws -> DifferentialResult {
    let clock = ContinuousClock()
    let start = clock.now
    var result = DifferentialResult(seed: seed)
    var flows: [DifferentialFlow] = []
    var nextPort = 1_024
    var reported = 0
    func newFlow(_ index: Int) -> DifferentialFlow {
      nextPort += 1
      return DifferentialFlow(
        station: stations[index % Self.stationCount], isIPv6: index % 2 == 1, port: nextPort,
        hasTimestamps: index % 4 < 3, permitsSACK: index % 3 != 0,
        sequence: UInt32(truncatingIfNeeded: seed) &+ UInt32(nextPort) &* 0x0123_4567,
        timestamp: index % 5 == 0 ? 0xffff_f000 : UInt32(nextPort) << 8)
    }
    for index in 0..<Self.flowCount { flows.append(newFlow(index)) }

    while result.frames < count {
      let isLast = result.frames + framesPerRound >= count
      // What is lost is opened anew, and so are the connections that this round will end.
      for index in flows.indices where flows[index].state == .lost { flows[index] = newFlow(index) }
      let unopened = flows.indices.filter { flows[$0].received == 0 }
      let opening =
        unopened.map { flows[$0] } + (0..<Self.victimsPerRound).map { newFlow($0) }
      let prepared = flows
      let (fresh, standing) = try await onBlockingThread("differential") {
        try introduce()
        return (
          try wire.open(opening, to: addresses), try wire.refresh(prepared, to: addresses)
        )
      }
      flows = standing
      for (place, index) in unopened.enumerated() { flows[index] = fresh[place] }
      var victims = Array(fresh.suffix(Self.victimsPerRound))
      try await fallAsleep(&flows, &victims)
      let open = flows.count { $0.state == .open }
      guard open > Self.flowCount / 2 else {
        throw TestBedError(
          code: .connection, message: "only \(open) connections to the guest could be opened")
      }

      var generator = DifferentialGenerator(
        seed: seed, guest: addresses, network: network.number,
        stations: Array(stations.dropLast()), flows: flows, victims: victims,
        speaksOldVersions: isLast)
      var numbers = Array(result.frames..<min(result.frames + framesPerRound, count))
      result.frames += numbers.count
      if let only { numbers = numbers.filter { only.contains($0) } }
      try await playRound(numbers, &generator, &result)
      flows = generator.flows
      result.rounds += 1
      for difference in result.differences[reported...] { report("\(difference)") }
      reported = result.differences.count
      report("\(result.frames) of \(count) frames, \(result.differences.count) differences")
      if result.differences.count > 200 { break }
    }
    result.seconds = (clock.now - start).inSeconds
    return result
  }

  /// Puts the guest to sleep. Until it sleeps the tester goes on answering it.
  private func fallAsleep(
    _ flows: inout [DifferentialFlow], _ victims: inout [DifferentialFlow]
  ) async throws {
    let clock = ContinuousClock()
    let end = clock.now + Self.patience
    while true {
      let prepared = flows + victims
      let settled = try await onBlockingThread("differential") {
        var settled = prepared
        try wire.settle(&settled, to: addresses)
        return settled
      }
      flows = Array(settled.prefix(flows.count))
      victims = Array(settled.suffix(victims.count))
      do {
        _ = try await daemon.client.sleep(guest.name)
        return
      } catch let error as APIError where error.code == .refused || error.code == .conflict {
        guard clock.now < end else {
          throw TestBedError(
            code: .deadline, message: "the guest does not fall asleep: \(error.message)")
        }
      }
    }
  }

  /// Has the guest say what its addresses are, that it answers echo requests and by which way, and that nobody
  /// listens at some ports.
  private func introduce() throws {
    try wire.beAnswered(
      stations.prefix(DifferentialGenerator.pingingStations).flatMap { station in
        [
          (station.ipv4, addresses.ipv4), (station.ipv6, addresses.ipv6),
          (station.linkLocal, addresses.linkLocal),
        ].map { Self.echo(7, from: station, $0, to: addresses.mac, $1) }
      })
    let station = stations[0]
    for target in [addresses.ipv6, addresses.linkLocal] {
      let group = DifferentialGuest.solicitedNode(target)
      let message: Bytes = [135, 0, 0, 0, 0, 0, 0, 0] + target + [1, 1] + station.mac
      try wire.send(
        PacketForm(
          to: DifferentialGuest.groupMAC(group), from: station.mac, source: station.ipv6,
          destination: group, next: Above.icmpv6,
          payload: summed(message, at: 2, station.ipv6, group, Above.icmpv6), hopLimit: 255
        ).bytes)
    }
    try wire.beAnswered(
      stations.prefix(DifferentialGenerator.refusedStations).flatMap { station in
        [(station.ipv4, addresses.ipv4), (station.ipv6, addresses.ipv6)].flatMap {
          refusals(from: station, $0, to: $1)
        }
      })
  }

  private func refusals(
    from station: DifferentialStation, _ source: Bytes, to destination: Bytes
  ) -> [Bytes] {
    func packet(_ next: Int, _ payload: Bytes) -> Bytes {
      PacketForm(
        to: addresses.mac, from: station.mac, source: source, destination: destination, next: next,
        payload: payload
      ).bytes
    }
    return DifferentialGenerator.refusedTCPPorts.map { port in
      packet(
        Above.tcp,
        SegmentForm(
          sourcePort: 19_000 + port % 1_000, destinationPort: port, sequence: 77,
          acknowledgement: 0, flags: 0x02
        ).bytes(source, destination))
    }
      + DifferentialGenerator.refusedUDPPorts.map { port in
        packet(
          Above.udp,
          summed(
            be16(19_000 + port) + be16(port) + be16(8) + be16(0), at: 6, source, destination,
            Above.udp))
      }
  }

  private static func echo(
    _ number: UInt32, from station: DifferentialStation, _ source: Bytes, to mac: Bytes,
    _ destination: Bytes
  ) -> Bytes {
    let next = source.count == 16 ? Above.icmpv6 : Above.icmp
    let message: Bytes = [source.count == 16 ? 128 : 8, 0, 0, 0] + be32(number)
    return PacketForm(
      to: mac, from: station.mac, source: source, destination: destination, next: next,
      payload: summed(message, at: 2, source, destination, next)
    ).bytes
  }

  private struct Judged: Sendable {
    let frame: DifferentialFrame
    let verdict: Verdict
    let answers: [Bytes]
  }

  private func playRound(
    _ numbers: [Int], _ generator: inout DifferentialGenerator, _ result: inout DifferentialResult
  ) async throws {
    let judged = try await judge(numbers, &generator)
    var toCompare: [Judged] = []
    var waking: [Judged] = []
    var errors = min(
      Self.errorsAtOnce,
      result.lastErrors.map { Int(($0.duration(to: .now)).inSeconds) } ?? Self.errorsAtOnce)
    for one in judged {
      result.kinds[one.frame.kind, default: .init()].frames += 1
      if !one.answers.isEmpty, AnswerKey.transport(of: one.frame.bytes) == Above.udp {
        // The sentry's limit of ICMP errors must not decide what is compared.
        guard errors > 0 else {
          result.silentByDesign["closedPort", default: 0] += 1
          continue
        }
        errors -= 1
      }
      if case .wake = one.verdict {
        result.woken += 1
        result.kinds[one.frame.kind, default: .init()].woken += 1
        waking.append(one)
      } else {
        if !one.answers.isEmpty { result.kinds[one.frame.kind, default: .init()].answered += 1 }
        toCompare.append(one)
      }
    }
    let asked = toCompare.map { ($0.frame, $0.answers) }
    let complaints = try await onBlockingThread("differential") { try wire.askSentry(asked) }
    result.lastErrors = .now
    for complaint in complaints {
      let frame = judged.first { $0.frame.number == complaint.number }?.frame
      note(frame, complaint.number, complaint.text, &result)
    }
    guard try await daemon.client.show(guest.name).state == .asleep else {
      throw TestBedError(
        code: .malformed, message: "a frame woke the guest that was not to wake it")
    }
    let trial = try await wakeByFrame(waking.filter { $0.frame.showsWhoAnswers }, &result)

    let compared = toCompare.filter { one in
      if case .hold = one.verdict {
        // They were replayed into the guest when it woke, and do not come twice.
        result.silentByDesign["held", default: 0] += 1
        return false
      }
      if one.verdict == .ignore(.loop), AnswerKey.transport(of: one.frame.bytes) == Above.tcp {
        // What it takes of them would make its connection another one than the sentry's.
        result.silentByDesign["loop", default: 0] += 1
        return false
      }
      return true
    }
    let frames = compared.map(\.frame) + (trial.map { [$0.frame] } ?? [])
    let expected = compared.map(\.answers.count) + (trial == nil ? [] : [1])
    let asker = stations[Self.stationCount]
    let answers = try await onBlockingThread("differential") {
      try wire.askGuest(frames, expected: expected) {
        Self.echo($0, from: asker, asker.ipv4, to: addresses.mac, addresses.ipv4)
      }
    }
    for (one, guestAnswers) in zip(compared, answers) { compare(one, guestAnswers, &result) }
    if let trial, let awake = answers.last {
      if let text = AnswerComparison.difference(
        sentry: trial.answers, guest: awake, isWoken: true)
      {
        note(
          trial.frame, trial.frame.number,
          "woken by it, the guest answers otherwise than awake: \(text)\n"
            + Self.list("woken", trial.answers) + Self.list("awake", awake), &result)
      } else {
        result.wakesAnswered += 1
      }
    }
  }

  /// Judges frames by the sentry's logic.
  private func judge(_ numbers: [Int], _ generator: inout DifferentialGenerator) async throws
    -> [Judged]
  {
    let processes = [await daemon.pid, try await daemon.client.status().sentry.pid].compactMap(
      \.self)
    let prediction = try SentryPrediction(of: addresses.mac, mtu: 1_500, in: processes)
    var judged: [Judged] = []
    for number in numbers {
      guard let frame = generator.frame(number), DifferentialWire.canSend(frame.bytes) else {
        continue
      }
      let (verdict, answers) = prediction.judge(frame.bytes)
      judged.append(Judged(frame: frame, verdict: verdict, answers: answers))
    }
    return judged
  }

  /// Ends the sleep with one of the frames that are to end it.
  ///
  /// - Returns: the frame and what the guest said to it.
  private func wakeByFrame(_ candidates: [Judged], _ result: inout DifferentialResult)
    async throws -> (frame: DifferentialFrame, answers: [Bytes])?
  {
    guard !candidates.isEmpty else {
      _ = try await daemon.client.wake(guest.name)
      return nil
    }
    let chosen = candidates[result.rounds % candidates.count].frame
    result.wakesTried += 1
    let answers = try await onBlockingThread("differential") {
      try wire.discard()
      try wire.send(chosen.bytes)
      return try wire.receive(within: Self.patience) { frames in
        frames.contains { AnswerKey(ofAnswer: $0) == chosen.key }
      }.filter { AnswerKey(ofAnswer: $0) == chosen.key }
    }
    try await daemon.waitFor(.awake, of: guest.name, within: Self.patience)
    return (chosen, answers)
  }

  private func compare(_ one: Judged, _ guest: [Bytes], _ result: inout DifferentialResult) {
    let sentry = one.answers
    if sentry.isEmpty, guest.isEmpty {
      result.bothSilent += 1
    } else if sentry.isEmpty, let designed = DesignedSilence.excusing(one.frame, one.verdict) {
      result.silentByDesign[designed.name, default: 0] += 1
    } else if let text = AnswerComparison.difference(sentry: sentry, guest: guest) {
      note(
        one.frame, one.frame.number,
        "\(one.verdict): \(text)\n" + Self.list("sentry", sentry) + Self.list("guest", guest),
        &result)
    } else {
      result.sameAnswer += 1
    }
  }

  private static func list(_ who: String, _ frames: [Bytes]) -> String {
    frames.map { "  \(who): \($0.hexadecimal)\n" }.joined()
  }

  private func note(
    _ frame: DifferentialFrame?, _ number: Int, _ text: String, _ result: inout DifferentialResult
  ) {
    result.differences.append(
      .init(
        number: number, frame: frame?.bytes.hexadecimal ?? "",
        description: "frame \(number), \(frame?.description ?? ""): \(text)"))
  }
}

extension DifferentialFrame {
  /// Whether the guest answers it, awake or just woken, and each time alike.
  fileprivate var showsWhoAnswers: Bool {
    let words = description.split(separator: ", ")
    guard words.count == 2 else { return false }
    return switch (kind, words[0].split(separator: ": ").last, words[1]) {
    case ("udp", "port 7777", "length 28 of 28"): true
    case ("tcp stranger", "port 1", "flags 2"), ("tcp stranger v6", "port 1", "flags 2"): true
    case ("tcp stranger", "port 4444", "flags 2"), ("tcp stranger v6", "port 4444", "flags 2"): true
    case ("echo", _, "code 1"), ("echo", _, "code 3"), ("echo v6", _, "code 3"): true
    default: false
    }
  }
}

extension DifferentialStation {
  var macText: String {
    mac.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
  var addressTexts: [String] {
    [ipv4.map(String.init).joined(separator: ".")]
      + [ipv6, linkLocal].map { address in
        stride(from: 0, to: 16, by: 2).map { String(address.number($0, 2) ?? 0, radix: 16) }
          .joined(separator: ":")
      }
  }
}
