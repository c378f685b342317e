/// Frames held for a VM that is about to run again, in the order of their coming.
///
/// Bounded: what finds no room is dropped and counted. TCP sends it again, and a VM wakes in tens of
/// milliseconds, so the bound is for floods.
package final class HoldQueue {
  /// What the queue of a tap takes at once (its `txqueuelen`): more would be lost when they are replayed.
  package static let maximumFrames = 1000
  package static let maximumBytes = 2 << 20

  package private(set) var frames: [[UInt8]] = []
  package private(set) var bytes = 0
  package private(set) var dropped = 0
  /// What does not wake the VM, and is given to it when it wakes; before all else, as it came before.
  package var deferred = DeferredFrames()
  private let room: HoldRoom

  /// - Parameter room: what all queues of the process share.
  package init(in room: HoldRoom = HoldRoom()) {
    self.room = room
  }

  package func append(_ frame: UnsafeRawBufferPointer) {
    guard frames.count < Self.maximumFrames, bytes + frame.count <= Self.maximumBytes,
      room.take(frame.count)
    else {
      dropped += 1
      return
    }
    frames.append([UInt8](frame))
    bytes += frame.count
  }

  deinit {
    room.giveBack(bytes)
  }
}

/// The memory that the held frames of all VMs may take together: thousands that wake at once, or a flood to
/// all of them, must not take the host's memory.
package final class HoldRoom {
  package static let defaultBytes = 128 << 20

  private var left: Int

  package init(bytes: Int = HoldRoom.defaultBytes) {
    left = bytes
  }

  fileprivate func take(_ bytes: Int) -> Bool {
    guard bytes <= left else { return false }
    left -= bytes
    return true
  }

  fileprivate func giveBack(_ bytes: Int) { left += bytes }
}
