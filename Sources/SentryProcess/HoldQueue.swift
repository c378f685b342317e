/// Frames held for a VM that is about to run again, in the order of their coming.
///
/// Bounded: what finds no room is dropped and counted. TCP sends it again, and a VM wakes in tens of
/// milliseconds, so the bound is for floods.
package final class HoldQueue {
  package static let maximumFrames = 1024
  package static let maximumBytes = 2 << 20

  package private(set) var frames: [[UInt8]] = []
  package private(set) var bytes = 0
  package private(set) var dropped = 0
  /// What does not wake the VM, and is given to it when it wakes; before all else, as it came before.
  package var deferred = DeferredFrames()

  package init() {}

  package func append(_ frame: UnsafeRawBufferPointer) {
    guard frames.count < Self.maximumFrames, bytes + frame.count <= Self.maximumBytes else {
      dropped += 1
      return
    }
    frames.append([UInt8](frame))
    bytes += frame.count
  }
}
