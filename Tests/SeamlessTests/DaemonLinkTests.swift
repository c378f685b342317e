import FoundationEssentials
import LinuxSystem
import Seamless
import SentryProcess
import Testing

@Suite("What the sentry tells the daemon")
struct DaemonLinkTests {
  private func read(_ socket: borrowing SequencedPacketSocket) throws -> [SentryReply] {
    var replies: [SentryReply] = []
    while let packet = try socket.receive(
      maximumBytes: SentryProtocol.maximumMessageBytes, maximumDescriptors: 0)
    {
      replies.append(try JSONDecoder().decode(SentryReply.self, from: Data(packet.bytes)))
    }
    return replies
  }

  @Test func aListComesInAsManyMessagesAsItTakes() throws {
    let pair = try SequencedPacketSocket.pair()
    let daemon = pair.first
    let link = DaemonLink(pair.second)
    let machines = (0..<5_000).map { GuardStatus(name: "machine-\($0)", phase: .answering) }
    var replies: [SentryReply] = []
    link.reply(7, machines[...]) { .welcome(pid: 1, $0) }
    repeat {
      replies += try read(daemon)
      link.flush()
    } while link.hasBacklog
    replies += try read(daemon)
    #expect(replies.count > 1)
    #expect(replies.allSatisfy { $0.id == 7 })
    #expect(replies.map(\.more) == replies.indices.map { $0 != replies.count - 1 })
    var names: [String] = []
    for case .welcome(_, let some) in replies.map(\.body) { names += some.map(\.name) }
    #expect(names == machines.map(\.name))
  }

  @Test func whatTheDaemonDoesNotReadWaitsInOrder() throws {
    let pair = try SequencedPacketSocket.pair()
    let daemon = pair.first
    let link = DaemonLink(pair.second)
    for number in 0..<5_000 {
      link.notice(.monitorSilent(name: "\(number)", message: String(repeating: "x", count: 100)))
    }
    #expect(link.hasBacklog && !link.isBroken)
    var names: [String] = []
    repeat {
      for case .notice(let notice) in try read(daemon).map(\.body) { names.append(notice.machine) }
      link.flush()
    } while link.hasBacklog
    for case .notice(let notice) in try read(daemon).map(\.body) { names.append(notice.machine) }
    #expect(names == (0..<5_000).map(String.init))
  }

  @Test func aDaemonThatNeverReadsIsGivenUp() throws {
    let pair = try SequencedPacketSocket.pair()
    let daemon = pair.first
    let link = DaemonLink(pair.second)
    let message = String(repeating: "x", count: 50_000)
    var count = 0
    while !link.isBroken, count < 10_000 {
      link.notice(.monitorSilent(name: "a", message: message))
      count += 1
    }
    #expect(link.isBroken)
    #expect(count * 50_000 > DaemonLink.maximumBacklog)
    // Nothing is left out of what it would still find.
    #expect(try !read(daemon).isEmpty)
  }
}
