import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Seamless

/// Makes a sentry blind for the traffic of the awake guests, and lets it see again: for comparing the two.
///
/// By copies of its learning sockets, whose filters the sentry shares and knows nothing of; so what a blind
/// sentry does is what it does without learning, and the tap's traffic pays for an empty filter only.
public final class LearningSwitch: Sendable {
  private let sockets: [Learning]

  private final class Learning: Sendable {
    let socket: PacketSocket
    init(_ socket: consuming PacketSocket) { self.socket = socket }
  }

  /// - Parameter sentry: the process.
  /// - Throws: ``TestBedError`` when it has no learning socket.
  public init(ofSentry sentry: Int32) throws {
    // packet(7) sockets of its namespace: what is bound to all protocols of an interface listens.
    var inodes: Set<Substring> = []
    let table = try KernelFile.text("/proc/\(sentry)/net/packet")
    for line in table.split(separator: "\n").dropFirst() {
      let fields = line.split(separator: " ")
      guard fields.count == 9, fields[3] == "0003" else { continue }
      inodes.insert(fields[8])
    }
    let handle = try ProcessHandle(opening: .of(pid: sentry))
    var found: [Learning] = []
    for (number, target) in try ProcessInspection.descriptors(of: sentry) {
      guard target.hasPrefix("socket:["),
        inodes.contains(target.dropFirst("socket:[".count).dropLast())
      else { continue }
      found.append(
        Learning(PacketSocket(adopting: try handle.duplicateDescriptor(number))))
    }
    guard !found.isEmpty else {
      throw TestBedError(code: .malformed, message: "the sentry has no learning socket")
    }
    sockets = found
  }

  /// Whether the sentry sees what passes.
  public func set(_ isOn: Bool) throws {
    for learning in sockets {
      try learning.socket.setSnapLength(isOn ? Learner.sufficientCapture : 0)
    }
  }
}
