public import API
import FoundationEssentials
import NIOHTTP1

/// Asks a daemon over its Unix socket. Each call is a connection of its own; a value of this type
/// holds nothing and can be used by many tasks at once.
///
/// Every method throws ``APIError``: the daemon's own, or `.unavailable` when it is not running or
/// does not answer in time, or `.forbidden` when the socket may not be opened. When the calling task
/// is cancelled, a method throws `CancellationError`, and the daemon carries on with what it was asked.
public struct DormouseClient: HostService {
  /// How long to wait for answers.
  public struct Deadlines: Sendable, Hashable {
    /// For a question, or a change that takes no time.
    public var query: Duration
    /// For a transition: a guest may take minutes to shut down, and a large one to page out.
    public var transition: Duration
    /// For any sign of life on an event stream. The daemon sends one at least every 10 s.
    public var silence: Duration

    /// Deadlines from their parts.
    public init(
      query: Duration = .seconds(30), transition: Duration = .seconds(600),
      silence: Duration = .seconds(35)
    ) {
      self.query = query
      self.transition = transition
      self.silence = silence
    }
  }

  /// The daemon's socket.
  public let socketPath: String
  /// How long to wait for answers.
  public let deadlines: Deadlines

  /// A client of the daemon that listens on a path. Nothing is opened yet.
  public init(socketPath: String = DormousePaths.socket, deadlines: Deadlines = Deadlines()) {
    self.socketPath = socketPath
    self.deadlines = deadlines
  }

  /// The daemon and its host at a glance.
  public func status() async throws -> HostStatus {
    try await ask(.GET, "/v1/status", within: deadlines.query)
  }

  /// All VMs, by name.
  public func list() async throws -> [VirtualMachine] {
    try await ask(.GET, "/v1/virtual-machines", within: deadlines.query)
  }

  /// One VM.
  public func show(_ name: String) async throws -> VirtualMachine {
    try await ask(.GET, path(of: name), within: deadlines.query)
  }

  /// Describes a new VM; it is not started.
  public func create(_ request: CreateRequest) async throws -> VirtualMachine {
    try await ask(
      .POST, "/v1/virtual-machines", body: request.validated(), within: deadlines.query)
  }

  /// Forgets a stopped VM.
  public func delete(_ name: String) async throws {
    _ = try await answer(.DELETE, path(of: name), body: nil, within: deadlines.query)
  }

  /// Boots a stopped VM.
  public func start(_ name: String) async throws -> VirtualMachine {
    try await ask(.POST, path(of: name) + "/start", within: deadlines.transition)
  }

  /// Asks the guest to shut down, or ends QEMU at once.
  public func stop(_ name: String, force: Bool = false) async throws -> VirtualMachine {
    try await ask(
      .POST, path(of: name) + "/stop?force=\(force)", within: deadlines.transition)
  }

  /// Puts a VM to sleep.
  public func sleep(_ name: String) async throws -> VirtualMachine {
    try await ask(.POST, path(of: name) + "/sleep", within: deadlines.transition)
  }

  /// Wakes a VM.
  public func wake(_ name: String) async throws -> VirtualMachine {
    try await ask(.POST, path(of: name) + "/wake", within: deadlines.transition)
  }

  /// Saves a VM as a template, and stops it.
  public func save(_ name: String, to request: SaveRequest) async throws -> VirtualMachine {
    try await ask(
      .POST, path(of: name) + "/save", body: request.validated(), within: deadlines.transition)
  }

  /// Changes a VM's settings.
  public func set(_ name: String, _ settings: SettingsRequest) async throws -> VirtualMachine {
    try await ask(.PATCH, path(of: name), body: settings.validated(), within: deadlines.query)
  }

  /// The rules of a VM, or with nil the host's.
  public func rules(of name: String?) async throws -> RuleList {
    try await ask(.GET, rulesPath(of: name), within: deadlines.query)
  }

  /// Changes the rules of a VM, or with nil the host's.
  public func changeRules(of name: String?, _ change: RuleChange) async throws -> RuleList {
    let path = try rulesPath(of: name)
    let within = deadlines.query
    return switch change {
    case .set(let rules):
      try await ask(.PUT, path, body: RuleList(rules: rules), within: within)
    case .add(let rule, let number):
      try await ask(.POST, path, body: AddRuleRequest(rule: rule, number: number), within: within)
    case .remove(let number):
      try await ask(.DELETE, path + "/\(number)", within: within)
    }
  }

  /// The events with a number above `sequence`. What goes wrong, the connection included, is thrown
  /// by the stream. A stream that is not read buffers without bound.
  public func events(after sequence: Int? = nil, follow: Bool = false)
    -> AsyncThrowingStream<Event, any Error>
  {
    let after = sequence.map { "&after=\($0)" } ?? ""
    let exchange = Exchange(
      socketPath: socketPath, method: .GET, uri: "/v1/events?follow=\(follow)\(after)", body: nil)
    return AsyncThrowingStream { continuation in
      let reader = Task { [silence = deadlines.silence] in
        do {
          try await exchange.lines(silence: silence) { line in
            guard let event = try? APICoding.decoder().decode(Event.self, from: line) else {
              throw Self.notUnderstood
            }
            continuation.yield(event)
          }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { _ in reader.cancel() }
    }
  }

  /// Looks at the host and says what is missing.
  public func doctor() async throws -> DoctorReport {
    try await ask(.GET, "/v1/doctor", within: deadlines.query)
  }

  // MARK: Asking

  private func path(of name: String) throws(APIError) -> String {
    try VirtualMachine.validate(name: name)
    return "/v1/virtual-machines/" + name
  }

  private func rulesPath(of name: String?) throws(APIError) -> String {
    try name.map { name throws(APIError) in try path(of: name) + "/rules" } ?? "/v1/rules"
  }

  private func ask<Value: Decodable>(
    _ method: HTTPMethod, _ uri: String, body: (any Encodable & Sendable)? = nil,
    within deadline: Duration
  ) async throws -> Value {
    let encoded = try body.map { try APICoding.encoder().encode($0) }
    let data = try await answer(method, uri, body: encoded, within: deadline)
    guard let value = try? APICoding.decoder().decode(Value.self, from: data) else {
      throw Self.notUnderstood
    }
    return value
  }

  private func answer(
    _ method: HTTPMethod, _ uri: String, body: Data?, within deadline: Duration
  ) async throws -> Data {
    let exchange = Exchange(socketPath: socketPath, method: method, uri: uri, body: body)
    return try await withThrowingTaskGroup(of: Data.self) { group in
      group.addTask { try await exchange.answer() }
      group.addTask { [socketPath] in
        try await Task.sleep(for: deadline)
        throw APIError(
          .unavailable, "the daemon at \(socketPath) did not answer within \(deadline)",
          intact: method == .GET ? nil : "it may still be carrying out what it was asked",
          advice: method == .GET ? nil : "see \"dormouse list\" and \"dormouse events\"")
      }
      defer { group.cancelAll() }
      guard let data = try await group.next() else { throw CancellationError() }
      return data
    }
  }

  private static let notUnderstood = APIError(
    .internal, "the daemon's answer is not understood",
    advice: "compare \"dormouse --version\" with the daemon's in \"dormouse status\"")
}
