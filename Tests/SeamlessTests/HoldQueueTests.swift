import SentryProcess
import Testing

@Suite("Held frames")
struct HoldQueueTests {
  private func append(_ frame: [UInt8], to queue: HoldQueue) {
    frame.withUnsafeBytes { queue.append($0) }
  }

  @Test func theyStayInOrder() {
    let queue = HoldQueue()
    for number in 0..<10 { append([UInt8(number), 0, 1], to: queue) }
    #expect(queue.frames == (0..<10).map { [UInt8($0), 0, 1] })
    #expect(queue.bytes == 30)
    #expect(queue.dropped == 0)
  }

  @Test func theirNumberIsBounded() {
    let queue = HoldQueue()
    for _ in 0..<(HoldQueue.maximumFrames + 7) { append([1], to: queue) }
    #expect(queue.frames.count == HoldQueue.maximumFrames)
    #expect(queue.dropped == 7)
  }

  @Test func allQueuesShareARoomThatIsGivenBack() {
    let room = HoldRoom(bytes: 100)
    var first: HoldQueue? = HoldQueue(in: room)
    let second = HoldQueue(in: room)
    for _ in 0..<3 { if let first { append([UInt8](repeating: 1, count: 30), to: first) } }
    append([UInt8](repeating: 2, count: 30), to: second)
    #expect(first?.frames.count == 3)
    #expect(second.frames.isEmpty && second.dropped == 1)
    first = nil
    append([UInt8](repeating: 2, count: 30), to: second)
    #expect(second.frames.count == 1)
  }

  @Test func theirBytesAreBoundedAndSmallOnesStillFit() {
    let queue = HoldQueue()
    let large = [UInt8](repeating: 7, count: 9000)
    for _ in 0..<(HoldQueue.maximumBytes / 9000) { append(large, to: queue) }
    #expect(queue.dropped == 0)
    append(large, to: queue)
    #expect(queue.dropped == 1)
    append([1, 2, 3], to: queue)
    #expect(queue.frames.last == [1, 2, 3])
    #expect(queue.bytes <= HoldQueue.maximumBytes)
  }
}
