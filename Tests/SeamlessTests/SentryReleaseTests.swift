import FoundationEssentials
import Glibc
import LinuxSystem
import Seamless
import SentryProcess
import Testing

@Suite("A sentry and a daemon of another release")
struct SentryReleaseTests {
  @Test("The sentry says which version it speaks, and ends to make room", .timeLimit(.minutes(1)))
  func retires() async throws {
    let path = "/tmp/dormouse-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).sock"
    defer { unlink(path) }
    let listener = try SequencedPacketSocket.listen(at: path, mode: 0o600).release()
    let sentry = Task {
      try await onBlockingThread("sentry") { SentryMain.run(listenDescriptor: listener) }
    }
    let daemon = try SequencedPacketSocket.connect(to: path)
    let request = SentryRequest(id: 1, body: .hello(version: SentryProtocol.version + 1))
    try daemon.send([UInt8](try JSONEncoder().encode(request)), descriptors: [])
    #expect(
      try await ReadinessMonitor.shared.wait(
        untilReadable: daemon.descriptor, timeout: .seconds(5)))
    guard
      let received = try daemon.receive(
        maximumBytes: SentryProtocol.maximumMessageBytes, maximumDescriptors: 0)
    else {
      Issue.record("the sentry closed without an answer")
      return
    }
    let reply = try JSONDecoder().decode(SentryReply.self, from: Data(received.bytes))
    guard case .refused(let code, let message) = reply.body else {
      Issue.record("\(reply) is no refusal")
      return
    }
    #expect(code == .version)
    #expect(message.contains("\(SentryProtocol.version)"))
    #expect(try await sentry.value == 0)
  }
}
