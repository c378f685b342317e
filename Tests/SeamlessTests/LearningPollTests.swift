import LinuxSystem
import SentryProcess
import Testing

@Suite struct LearningPollTests {
  private static let rest = UInt64(LearningPoll.restMilliseconds) * 1_000_000
  private static let key: UInt64 = 7
  private static let server: UInt64 = 1

  @Test("Sparse frames wake the server each, dense ones once per rest, and none is forgotten")
  func restsWhereDense() throws {
    let pair = try SequencedPacketSocket.pair()
    var server = try EventPoll()
    var learning = try LearningPoll()
    try learning.sockets.add(pair.first.descriptor, key: Self.key)
    try learning.resume(in: server, key: Self.server)
    let idle = Array(try server.wait(milliseconds: 0))
    #expect(idle.isEmpty)

    try pair.second.send([1])
    // Long after each other: no rest, and what is ready shows again until it is read.
    for now in [10 * Self.rest, 20 * Self.rest] {
      let woken = Array(try server.wait(milliseconds: 1_000))
      #expect(woken == [Self.server])
      let (keys, rests) = (Array(learning.ready(in: server, at: now)), learning.isResting)
      #expect(keys == [Self.key])
      #expect(!rests)
    }
    // Soon after: read, and then left alone.
    let dense = 20 * Self.rest + 1
    var (keys, rests) = (Array(learning.ready(in: server, at: dense)), learning.isResting)
    #expect(keys == [Self.key])
    #expect(rests)
    let left = Array(try server.wait(milliseconds: 0))
    #expect(left.isEmpty)
    let (early, due) = (
      learning.hasRested(at: dense + Self.rest - 1), learning.hasRested(at: dense + Self.rest)
    )
    #expect(!early)
    #expect(due)

    try learning.resume(in: server, key: Self.server)
    let (stillRests, dueAgain) = (learning.isResting, learning.hasRested(at: .max))
    #expect(!stillRests)
    #expect(!dueAgain)
    let woken = Array(try server.wait(milliseconds: 1_000))
    #expect(woken == [Self.server])
    // As dense as before: at once the next rest.
    (keys, rests) = (Array(learning.ready(in: server, at: dense + Self.rest)), learning.isResting)
    #expect(keys == [Self.key])
    #expect(rests)
  }
}
