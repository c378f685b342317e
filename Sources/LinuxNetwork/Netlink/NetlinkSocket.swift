import CLinux
import LinuxSystem
import Synchronization
import SystemPackage

/// A NETLINK_ROUTE socket for requests and their answers.
///
/// The kernel works on a request within the call that sends it, so that no answer is waited for
/// long; what takes time is the kernel's network lock. Calls from several threads take turns.
struct NetlinkSocket: ~Copyable, Sendable {
  /// A dump that something else's change interrupts is asked for again; on a host that changes this
  /// often something else is wrong.
  private static let dumpAttempts = 20
  private static let answerTimeoutSeconds: UInt32 = 10

  private let descriptor: OwnedFileDescriptor
  private let lastSequence = Mutex<UInt32>(0)

  init() throws(LinuxError) {
    let operation = "open a netlink socket"
    let descriptor = OwnedFileDescriptor(owning: try checked(operation, dormouse_netlink_open(0)))
    try checked(
      operation,
      dormouse_socket_set_receive_timeout(descriptor.rawValue, Self.answerTimeoutSeconds))
    self.descriptor = descriptor
  }

  /// Sends a request and collects what is answered before the acknowledgement or the dump's end.
  ///
  /// - Parameter operation: what is being tried, for the error's message.
  @discardableResult
  func exchange(
    _ request: NetlinkRequest, _ operation: @autoclosure () -> String
  ) throws(LinuxError) -> [NetlinkMessage] {
    for _ in 0..<Self.dumpAttempts {
      do throws(NetlinkFailure) {
        let answers = try lastSequence.withLock {
          sequence throws(NetlinkFailure) -> [NetlinkMessage] in
          sequence &+= 1
          return try attempt(request, sequence: sequence)
        }
        if let answers = answers.complete(isDump: request.isDump) { return answers }
      } catch {
        throw error.error(operation())
      }
    }
    throw LinuxError(
      "\(operation()): the list kept changing while it was read", .resourceTemporarilyUnavailable)
  }

  private func attempt(
    _ request: NetlinkRequest, sequence: UInt32
  ) throws(NetlinkFailure) -> [NetlinkMessage] {
    let message = request.encoded(sequence: sequence)
    try retryingInterrupted {
      message.withUnsafeBytes {
        dormouse_netlink_send(descriptor.rawValue, $0.baseAddress, $0.count)
      }
    }
    var answers: [NetlinkMessage] = []
    while true {
      for answer in try receive() where answer.sequence == sequence {
        switch CInt(answer.type) {
        case NLMSG_ERROR, NLMSG_DONE:
          if let failure = NetlinkFailure(ending: answer) { throw failure }
          answers.append(answer)
          return answers
        default:
          answers.append(answer)
        }
      }
    }
  }

  private func receive() throws(NetlinkFailure) -> [NetlinkMessage] {
    // The kernel never makes a datagram of a dump larger than 32 KiB (netlink_dump).
    let capacity = 65536
    var sender: UInt32 = 0
    var size = 0
    var failure: Errno?
    let datagram = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      repeat {
        size = dormouse_netlink_receive(
          descriptor.rawValue, buffer.baseAddress, capacity, &sender)
        failure = size < 0 ? Errno(rawValue: dormouse_errno()) : nil
      } while failure == .interrupted
      count = Swift.max(0, Swift.min(size, capacity))
    }
    if let failure { throw NetlinkFailure(failure) }
    // Another process can send here too, if privileged; only the kernel is believed.
    guard sender == 0 else { return [] }
    guard size <= capacity, let messages = NetlinkMessage.all(in: datagram) else {
      throw NetlinkFailure(.badMessage)
    }
    return messages
  }

  private func retryingInterrupted(_ call: () -> Int) throws(NetlinkFailure) {
    while call() == -1 {
      let failure = Errno(rawValue: dormouse_errno())
      if failure != .interrupted { throw NetlinkFailure(failure) }
    }
  }
}

/// Why the kernel refused: a number and, where it gives one, its own words (NLMSGERR_ATTR_MSG).
private struct NetlinkFailure: Error {
  let errno: Errno
  let explanation: String?

  init(_ errno: Errno, explanation: String? = nil) {
    self.errno = errno
    self.explanation = explanation
  }

  /// nil if the message that ends an exchange reports success.
  init?(ending message: NetlinkMessage) {
    guard let code = message.body.integer(at: 0, as: Int32.self) else {
      self.init(.badMessage)
      return
    }
    guard code != 0 else { return nil }
    // The error is followed by the request's header (capped to that), a dump's end by nothing.
    let fixed =
      CInt(message.type) == NLMSG_ERROR ? MemoryLayout<nlmsgerr>.size : MemoryLayout<Int32>.size
    self.init(
      Errno(rawValue: code == .min ? .max : abs(code)),
      explanation: CInt(message.flags) & NLM_F_ACK_TLVS == 0
        ? nil : message.attributes(after: fixed).string(NLMSGERR_ATTR_MSG.rawValue))
  }

  func error(_ operation: String) -> LinuxError {
    LinuxError(explanation.map { "\(operation): \($0)" } ?? operation, errno)
  }
}

extension [NetlinkMessage] {
  /// The answers without the message that ends them, or nil if a dump was interrupted by a change.
  fileprivate func complete(isDump: Bool) -> [NetlinkMessage]? {
    if isDump, contains(where: { CInt($0.flags) & NLM_F_DUMP_INTR != 0 }) { return nil }
    return dropLast()
  }
}
