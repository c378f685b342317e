import FoundationEssentials
import Glibc
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import Seamless
import Synchronization

/// A real `dormouse-sentry` without a daemon: the lab speaks to it instead.
///
/// Started as the daemon starts it: by a descriptor, under the sentry's user, with CAP_NET_ADMIN alone.
final class EmulatedSentry: Sendable {
  /// UserIDs.sentry of the daemon.
  private static let user: UInt32 = 1_900_000_000

  let process: ProcessIdentity
  let log: String
  private let socket: SequencedPacketSocket
  private struct State {
    var lastID: UInt64 = 0
    var notices: [SentryNotice] = []
  }
  private let state = Mutex(State())

  /// Starts one in a namespace and greets it.
  init(in lab: Lab, on namespace: Namespace) async throws {
    let directory = try lab.makeDirectory("sentry")
    log = directory + "/log"
    TestFailureLog.add(log)
    let listener = try SequencedPacketSocket.listen(at: directory + "/socket", mode: 0o600)
    let program = OwnedFileDescriptor(
      owning: try checked(
        "open the sentry", open(try lab.program("dormouse-sentry"), O_RDONLY | O_CLOEXEC)))
    let output = OwnedFileDescriptor(
      owning: try checked(
        "open \(log)", open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)))
    var environment = ["PATH": "/usr/bin:/bin"]
    environment["LD_LIBRARY_PATH"] = TestBed.environment("LD_LIBRARY_PATH")
    process = try await namespace.launch(
      LaunchConfiguration(
        executable: "/proc/self/fd/4", name: "dormouse-sentry",
        arguments: ["--listen-descriptor", "3"], environment: environment,
        descriptors: [
          1: output.rawValue, 2: output.rawValue, 3: listener.rawValue, 4: program.rawValue,
        ],
        credentials: Credentials(
          uid: Self.user, gid: Self.user, ambientCapabilities: [.netAdmin])))
    socket = try SequencedPacketSocket.connect(to: directory + "/socket")
    let injector = try await namespace.perform {
      try PacketSocket.open(onInterface: 0, mode: .injecting)
    }
    _ = try request(
      .hello(version: SentryProtocol.version), descriptors: [injector.descriptor])
  }

  /// Kills it and waits until it is gone.
  func kill() async throws {
    let handle = try ProcessHandle(opening: process)
    try handle.signal(SIGKILL)
    _ = try await handle.waitForExit(timeout: .seconds(10))
    _ = try handle.reap()
  }

  /// Asks, and waits for the answer with all its parts; what is told meanwhile is kept. May block.
  @discardableResult
  func request(
    _ body: SentryRequest.Body, descriptors: [CInt] = []
  ) throws -> SentryReply.Body {
    try state.withLock { state in
      state.lastID += 1
      let id = state.lastID
      let request = try JSONEncoder().encode(SentryRequest(id: id, body: body))
      try socket.send([UInt8](request), descriptors: descriptors)
      var answer: SentryReply.Body?
      let end = ContinuousClock.now + .seconds(20)
      while ContinuousClock.now < end {
        guard let reply = try Self.receive(socket) else {
          var wait = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
          poll(&wait, 1, 100)
          continue
        }
        if case .notice(let notice) = reply.body {
          state.notices.append(notice)
          continue
        }
        guard reply.id == id else { continue }
        if case .refused(_, let message) = reply.body {
          throw TestBedError(code: .command, message: "the sentry refuses: \(message)")
        }
        answer = answer.map { $0.joined(with: reply.body) } ?? reply.body
        if let answer, !reply.more { return answer }
      }
      throw TestBedError(code: .deadline, message: "the sentry did not answer within 20 s")
    }
  }

  /// What it has told unasked since the last call.
  func notices() throws -> [SentryNotice] {
    try state.withLock { state in
      while let reply = try Self.receive(socket) {
        if case .notice(let notice) = reply.body { state.notices.append(notice) }
      }
      defer { state.notices = [] }
      return state.notices
    }
  }

  private static func receive(_ socket: borrowing SequencedPacketSocket) throws -> SentryReply? {
    guard
      let packet = try socket.receive(
        maximumBytes: SentryProtocol.maximumMessageBytes, maximumDescriptors: 0)
    else { return nil }
    guard !packet.endOfStream else {
      throw TestBedError(code: .command, message: "the sentry has closed the connection")
    }
    return try JSONDecoder().decode(SentryReply.self, from: Data(packet.bytes))
  }
}
