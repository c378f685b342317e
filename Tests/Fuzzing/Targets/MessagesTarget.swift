import FoundationEssentials
import Seamless

extension FuzzTarget {
  /// What daemon and sentry read of each other. Input: one message.
  static let messages = FuzzTarget("messages", maximumLength: 2048) { input in
    let text = Data(input)
    if let request = try? JSONDecoder().decode(SentryRequest.self, from: text) {
      try check(request)
    }
    if let reply = try? JSONDecoder().decode(SentryReply.self, from: text) {
      try check(reply)
      if case .notice(let notice) = reply.body { _ = notice.machine }
    }
  }

  /// What was read can be written, and is read as the same again.
  private static func check<Message: Codable>(_ message: Message) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let once = try encoder.encode(message)
    let again = try JSONDecoder().decode(Message.self, from: once)
    try demand(try encoder.encode(again) == once, "a message that changes when it is written")
  }
}
