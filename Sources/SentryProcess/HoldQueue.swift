/// Frames held for a VM that is about to run again, in the order of their coming.
///
/// Bounded: what finds no room is dropped and counted. TCP sends it again, and a VM wakes in tens of
/// milliseconds, so the bound is for floods.
final class HoldQueue {
  static let maximumFrames = 1024
  static let maximumBytes = 2 << 20

  private(set) var frames: [[UInt8]] = []
  private(set) var bytes = 0
  private(set) var dropped = 0

  func append(_ frame: UnsafeRawBufferPointer) {
    guard frames.count < Self.maximumFrames, bytes + frame.count <= Self.maximumBytes else {
      dropped += 1
      return
    }
    frames.append([UInt8](frame))
    bytes += frame.count
  }
}
