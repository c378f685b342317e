import API
import FoundationEssentials
import Inventory
import Logging

/// Everything that happens, in order: kept in the inventory, and told to whoever listens.
actor EventLog {
  /// Events that a slow listener may be behind before it loses the oldest.
  private static let listenerBuffer = 1024

  private let inventory: Inventory
  private let logger: Logger
  /// An event, and whether it is also in the inventory.
  private struct News: Sendable {
    let event: Event
    let isStored: Bool
  }

  private var listeners: [Int: AsyncStream<News>.Continuation] = [:]
  private var nextListener = 0
  private(set) var lastSequence: Int

  init(inventory: Inventory, logger: Logger) async throws {
    self.inventory = inventory
    self.logger = logger
    lastSequence = try await inventory.read { try $0.lastEventSequence() }
  }

  /// Never fails: an event that cannot be stored is still told and logged.
  func append(
    _ machine: String?, _ kind: Event.Kind, _ message: String, _ details: [String: String] = [:]
  ) async {
    logger.info(
      "\(message)",
      metadata: ["event": "\(kind.rawValue)", "vm": machine.map { "\($0)" } ?? "-"])
    let event: Event
    var isStored = true
    do {
      event = try await inventory.write { transaction in
        try transaction.appendEvent(
          kind, virtualMachine: machine, message: message, details: details)
      }
    } catch {
      logger.warning("an event could not be stored", metadata: ["error": "\(error)"])
      isStored = false
      event = Event(
        sequence: lastSequence, at: Date(), virtualMachine: machine, kind: kind, message: message,
        details: details)
    }
    lastSequence = max(lastSequence, event.sequence)
    for listener in listeners.values { listener.yield(News(event: event, isStored: isStored)) }
  }

  /// What has happened since a sequence number, and, if asked, all that happens from now on.
  func stream(
    after sequence: Int?, follow: Bool
  ) async throws -> AsyncThrowingStream<Event, any Error> {
    let (live, sink) = AsyncStream<News>.makeStream(
      bufferingPolicy: .bufferingNewest(Self.listenerBuffer))
    let number = nextListener
    nextListener += 1
    if follow { listeners[number] = sink } else { sink.finish() }
    let first = sequence ?? 0
    let past: [Event]
    do {
      past = try await inventory.read { try $0.events(after: first) }
    } catch {
      listeners[number] = nil
      throw error
    }
    return AsyncThrowingStream { continuation in
      let pump = Task {
        var seen = first
        for event in past {
          continuation.yield(event)
          seen = max(seen, event.sequence)
        }
        // What is stored may have been among the past already.
        for await news in live where !news.isStored || news.event.sequence > seen {
          continuation.yield(news.event)
        }
        continuation.finish()
        self.forget(number)
      }
      continuation.onTermination = { _ in
        pump.cancel()
        sink.finish()
      }
    }
  }

  private func forget(_ number: Int) {
    listeners[number] = nil
  }
}
