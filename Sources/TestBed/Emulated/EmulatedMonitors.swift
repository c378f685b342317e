import FoundationEssentials
import Glibc
import LinuxSystem
import Synchronization

/// All emulated guests' QEMUs: one thread that answers `cont` on their monitors and reads what is delivered
/// to their taps.
final class EmulatedMonitors: Sendable {
  private struct State {
    var guests: [Int: EmulatedGuest] = [:]
    /// Frames that each guest was given, and when the first came, in monotonic nanoseconds.
    var delivered: [Int: (count: Int, first: UInt64)] = [:]
    /// Of guests whose QEMU does not answer for now.
    var unanswered: [Int: UInt64] = [:]
    var isSilent = false
    var isStopped = false
  }
  private let state = Mutex(State())
  private let poll: Mutex<EventPoll>

  init() throws {
    poll = Mutex(try EventPoll())
  }

  func add(_ guest: EmulatedGuest) throws {
    state.withLock { $0.guests[guest.number] = guest }
    try poll.withLock { poll in
      try poll.add(guest.monitor.rawValue, key: UInt64(guest.number) << 1)
      try poll.add(guest.tap.rawValue, key: UInt64(guest.number) << 1 | 1)
    }
  }

  /// From now on `cont` is not answered, until ``answerAll()``.
  func fallSilent() { state.withLock { $0.isSilent = true } }

  func answerAll() {
    state.withLock { state in
      state.isSilent = false
      for (number, id) in state.unanswered {
        if let guest = state.guests[number] { Self.answer(guest, id) }
      }
      state.unanswered = [:]
    }
  }

  /// What was delivered since the last call: frames, and when the first came.
  func takeDelivered() -> [Int: (count: Int, first: UInt64)] {
    state.withLock { state in
      defer { state.delivered = [:] }
      return state.delivered
    }
  }

  func delivered(to number: Int) -> Int {
    state.withLock { $0.delivered[number]?.count ?? 0 }
  }

  func stop() { state.withLock { $0.isStopped = true } }

  /// Serves until ``stop()``. Blocks.
  func run() throws {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while !state.withLock({ $0.isStopped }) {
      // Adding takes turns with waiting, which is short for that reason.
      let keys = try poll.withLock { Array(try $0.wait(milliseconds: 5)) }
      for key in keys {
        guard let guest = state.withLock({ $0.guests[Int(key >> 1)] }) else { continue }
        if key & 1 == 0 { serve(guest, &buffer) } else { take(guest, &buffer) }
      }
    }
  }

  private func serve(_ guest: EmulatedGuest, _ buffer: inout [UInt8]) {
    let count = recv(guest.monitor.rawValue, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    if count == 0 { poll.withLock { $0.remove(guest.monitor.rawValue) } }
    guard count > 0 else { return }
    for line in buffer[..<count].split(separator: UInt8(ascii: "\n")) {
      struct Command: Decodable {
        let execute: String
        let id: UInt64
      }
      guard let command = try? JSONDecoder().decode(Command.self, from: Data(line)),
        command.execute == "cont"
      else { continue }
      state.withLock { state in
        if state.isSilent {
          state.unanswered[guest.number] = command.id
        } else {
          Self.answer(guest, command.id)
        }
      }
    }
  }

  private static func answer(_ guest: EmulatedGuest, _ id: UInt64) {
    let answer = Array("{\"return\": {}, \"id\": \(id)}\r\n".utf8)
    _ = send(guest.monitor.rawValue, answer, answer.count, Int32(MSG_NOSIGNAL))
  }

  private func take(_ guest: EmulatedGuest, _ buffer: inout [UInt8]) {
    var count = 0
    while count < 64, read(guest.tap.rawValue, &buffer, buffer.count) > 0 { count += 1 }
    guard count > 0 else { return }
    let now = MonotonicClock.nowNanoseconds()
    state.withLock { state in
      let before = state.delivered[guest.number]
      state.delivered[guest.number] = ((before?.count ?? 0) + count, before?.first ?? now)
    }
  }
}
