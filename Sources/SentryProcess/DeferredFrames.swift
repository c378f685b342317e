/// Frames that rules have put off, for the time when something else wakes the VM.
///
/// Bounded on its own, so that they never take room from what wakes it. Where there is none the oldest
/// goes: who sent the newest waits most probably still.
package struct DeferredFrames {
  package static let maximumFrames = 64
  package static let maximumBytes = 128 << 10
  /// Nobody waits for longer: Linux gives the opening of a connection up after 127 s. In nanoseconds.
  package static let lifetime: UInt64 = 127_000_000_000

  private var frames: [(bytes: [UInt8], at: UInt64)] = []
  private var bytes = 0

  package init() {}

  package mutating func append(_ frame: UnsafeRawBufferPointer, at now: UInt64) {
    guard frame.count <= Self.maximumBytes else { return }
    while frames.count >= Self.maximumFrames || bytes + frame.count > Self.maximumBytes {
      bytes -= frames.removeFirst().bytes.count
    }
    frames.append(([UInt8](frame), now))
    bytes += frame.count
  }

  /// What somebody may still wait for, in the order of coming.
  package func current(at now: UInt64) -> [[UInt8]] {
    frames.filter { now - min($0.at, now) <= Self.lifetime }.map(\.bytes)
  }
}
