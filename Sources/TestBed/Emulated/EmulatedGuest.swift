import Frames
import Glibc
import LinuxNetwork
import LinuxSystem
import Seamless
import Synchronization

/// A guest that is not there: its taps, the filters of its detour, its cursors and its place at a bridge are
/// real, its QEMU is the lab.
final class EmulatedGuest: Sendable {
  let number: Int
  let frames: EmulatedFrames
  /// The number of the bridge that it is at.
  let bridge: Int
  let detour: Detour
  /// QEMU's end of the VM's tap.
  let tap: OwnedFileDescriptor
  /// QEMU's end of the sentry's monitor.
  let monitor: OwnedFileDescriptor
  private let lines: Mutex<Lines?>

  /// As long as a name may be: lists of names are what grows with the number of VMs.
  var name: String {
    let digits = "\(number)"
    return "emulated-" + String(repeating: "0", count: 54 - digits.count) + digits
  }

  /// What the sentry gets.
  struct Lines: ~Copyable, Sendable {
    let monitor: OwnedFileDescriptor
    let cursors: OwnedFileDescriptor
    let detourTap: OwnedFileDescriptor
  }

  /// Makes all of it in the calling thread's network namespace, with the detour engaged.
  ///
  /// The taps are persistent: they go with the namespace, all in one batch, which takes a fraction of the
  /// time that closing them one by one takes.
  init(
    number: Int, bridge: Int, master: CInt, flows: Int, _ netlink: borrowing RouteNetlink
  ) throws {
    self.number = number
    self.bridge = bridge
    frames = EmulatedFrames(guest: number)
    let machine = try Tap.open(named: "dmt\(number)", persistent: true)
    let sentrySide = try Tap.open(named: "dmd\(number)", persistent: true)
    let machineIndex = try netlink.index(of: machine.name)
    let detourIndex = try netlink.index(of: sentrySide.name)
    try netlink.setNoARP(detourIndex)
    try netlink.setUp(detourIndex, up: true)
    try netlink.setMaster(machineIndex, master: master)
    try netlink.setUp(machineIndex, up: true)
    tap = machine.takeDescriptor()
    // The bridge learns where the guest is.
    let assertion = frames.assertion
    try checked("write to a tap", write(tap.rawValue, assertion, assertion.count))
    detour = Detour(machineTap: machineIndex, detourTap: detourIndex)
    try detour.engage(netlink)
    var ends: [CInt] = [-1, -1]
    try checked(
      "socketpair",
      socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends))
    monitor = OwnedFileDescriptor(owning: ends[0])
    let given = Lines(
      monitor: OwnedFileDescriptor(owning: ends[1]),
      cursors: try Self.cursors(of: frames, flows: flows),
      detourTap: sentrySide.takeDescriptor())
    lines = Mutex(given)
  }

  /// Puts it back as it was in the beginning: the detour engaged, nothing in its tap.
  func renew(_ netlink: borrowing RouteNetlink) throws {
    try detour.engage(netlink)
  }

  /// Gives it to a sentry that finds it asleep, as a daemon does when a sentry has died.
  ///
  /// - Parameter isKept: whether what the sentry gets stays here too, for another one.
  func entrust(to sentry: EmulatedSentry, isKept: Bool) throws {
    let learner = try PacketSocket.open(
      onInterface: detour.machineTap, mode: .learning(snapLength: Learner.sufficientCapture))
    try lines.withLock { lines in
      guard let given = lines.take() else {
        throw TestBedError(code: .malformed, message: "\(name) has been given away")
      }
      try sentry.request(
        .guardMachine(
          GuardedMachine(
            name: name, tapIndex: detour.machineTap, macAddress: Self.text(frames.mac), mtu: 1500,
            asleep: true, rules: [])),
        descriptors: [
          given.monitor.rawValue, given.cursors.rawValue, given.detourTap.rawValue,
          learner.descriptor,
        ])
      if isKept { lines = consume given }
    }
  }

  /// What a sentry would have learned of the guest: its address, that it answers pings, and where its
  /// connections stand.
  private static func cursors(
    of frames: EmulatedFrames, flows: Int
  ) throws -> OwnedFileDescriptor {
    guard let mac = MACAddress(text(frames.mac)) else {
      throw TestBedError(code: .malformed, message: "an address that is none")
    }
    let memory = try CursorTable.makeMemory(for: mac)
    let mapping = try MappedFile(
      memory.rawValue, "the memory of the cursors", size: UInt64(CursorTable.byteCount()),
      for: .writing)
    let table = try CursorTable(attaching: mapping.bytes)
    let now = MonotonicClock.nowNanoseconds()
    var learner = Learner(table: table, at: now)
    for frame in [frames.assertion, frames.echoReply] {
      frame.withUnsafeBytes { _ = learner.observe($0, direction: .fromGuest, at: now) }
    }
    let client = EmulatedFrames.clientAddress
    let station = MACAddress(text(EmulatedFrames.clientMAC)).map { table.mark(of: $0) } ?? 0
    for flow in 0..<flows {
      var cursor = Cursor(
        key: FlowKey(
          localIndex: 0, localPort: EmulatedFrames.guestPort,
          remote: .v4(IPv4Address(client[0], client[1], client[2], client[3])),
          remotePort: EmulatedFrames.firstClientPort + UInt16(flow)))
      cursor.flags = [.guestKnown, .peerKnown, .peerEndKnown]
      cursor.guestSequence = EmulatedFrames.guestSequence
      cursor.guestAcknowledgement = EmulatedFrames.clientSequence
      cursor.peerAcknowledgement = EmulatedFrames.guestSequence
      cursor.peerEnd = EmulatedFrames.clientSequence
      cursor.guestWindow = 502
      cursor.station = station
      cursor.lastSeen = UInt32(truncatingIfNeeded: now / 1_000_000_000)
      table.update(cursor)
    }
    return memory
  }

  private static func text(_ mac: [UInt8]) -> String {
    mac.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
