import API
import Seamless
import TestBed
import Testing

/// What clients see of a VM that sleeps at awkward moments: with frames lost on the way, connections being
/// closed, other stacks than Linux's, offloads, claims to its addresses, a bridge that snoops.
///
/// Each test looks at every frame that is sent in the VM's name: of what the sentry says nothing may be new,
/// and while it speaks nobody else does.
@Suite(
  .serialized, .timeLimit(.minutes(5)), .showsLogsOnFailure,
  .scene("present", memoryMegabytes: 256))
struct PresenceTests {
  /// Far above what retransmission takes on a busy machine.
  static let patience = Duration.seconds(20)

  let scene: Scene

  init() throws { scene = try Scene.current() }

  /// Runs a body with a client on a wire, and judges afterwards what the sentry said.
  func withOnlooker(_ body: (Onlooker) async throws -> Void) async throws {
    // A test that failed may have left the VM in any state.
    _ = try await scene.api.wake(scene.name)
    let (client, wire) = try await scene.wiredClient()
    let watch = try await scene.watch()
    defer { watch.stop() }
    let mark = wire.passages.count
    do {
      try await body(Onlooker(scene: scene, client: client, wire: wire, watch: watch))
    } catch {
      print("what passed the wire:")
      for passage in wire.passages.dropFirst(mark).suffix(60) { print("  \(passage)") }
      throw error
    }
    #expect(try watch.violations() == [])
  }
}

extension Scene {
  /// Begins to see who speaks for the VM.
  func watch() async throws -> PresenceWatch {
    let tap = try #require(try await machine().networks.first?.tap)
    return try await PresenceWatch(on: network, tap: tap, of: guest)
  }

  /// Puts the VM to sleep at the first moment that the daemon allows.
  @discardableResult
  func sleepAtOnce(within deadline: Duration = PresenceTests.patience) async throws
    -> VirtualMachine
  {
    try await daemon.sleepWhenQuiet(name, within: deadline, every: .milliseconds(50))
  }
}

/// A client whose wire can lose frames, and what is seen beside it.
struct Onlooker {
  let scene: Scene
  let client: LabClient
  let wire: Wire
  let watch: PresenceWatch

  /// Waits until the wire has lost what it was told to.
  func untilLost() async throws {
    try await eventually(
      "the segment to be lost", within: PresenceTests.patience, every: .milliseconds(2)
    ) {
      wire.lostSegment.map { _ in () }
    }
  }

  /// Waits until the sentry has spoken, some times since a mark.
  func untilAnswered(times: Int = 1, after mark: Int) async throws {
    try await eventually("the sentry to answer", within: PresenceTests.patience) {
      try watch.sightings(after: mark).count { $0.speaker == .sentry } >= times ? () : nil
    }
  }

  /// Puts the VM to sleep, lets a body do what a sleeping VM lives through without waking, and makes sure
  /// that nobody but the sentry has spoken for it.
  func whileAsleep(_ body: () async throws -> Void) async throws {
    let asleep = try await scene.sleepAtOnce()
    let mark = try watch.mark()
    try await body()
    let sightings = try watch.sightings(after: mark)
    let now = try await scene.machine()
    #expect(now.state == .asleep)
    #expect(now.wakes == asleep.wakes)
    #expect(sightings.allSatisfy { $0.speaker == .sentry })
  }

  /// Runs what wakes the VM, and makes sure that the sentry falls silent before the guest speaks.
  @discardableResult
  func wakes<Value>(_ body: () async throws -> Value) async throws -> Value {
    let before = try await scene.machine()
    try #require(before.state == .asleep)
    let mark = try watch.mark()
    let value = try await body()
    try await scene.wait(for: .awake, within: PresenceTests.patience)
    // The guest may take its time to acknowledge what woke it.
    let speakers = try await eventually("the guest to speak", within: PresenceTests.patience) {
      let speakers = try watch.sightings(after: mark).map(\.speaker)
      return speakers.contains(.guest) ? speakers : nil
    }
    #expect(speakers.drop { $0 == .sentry }.allSatisfy { $0 == .guest })
    return value
  }
}
