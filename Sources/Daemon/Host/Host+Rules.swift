public import API
import FoundationEssentials
import Inventory
import LinuxSystem
import Logging
import Seamless

extension Host {
  /// What the host's rules are called in the inventory.
  private static let setting = "rules"
  /// More than any list of rules.
  private static let maximumFileBytes = 64 << 10

  /// The host's rules as the daemon finds them when it starts.
  ///
  /// - Throws: `APIError` when the file is not as it should be: rules that are not what was meant are no
  ///   better than none.
  static func rules(
    _ configuration: DaemonConfiguration, _ inventory: Inventory, _ logger: Logger
  ) async throws -> [TrafficRule] {
    if let file = configuration.rulesFile { return try rules(inFile: file) }
    return Machine.rules(in: try await inventory.read { try $0.setting(setting) }, logger)
  }

  private static func rules(inFile path: String) throws -> [TrafficRule] {
    do {
      let bytes = try KernelFile.bytes(path, limit: maximumFileBytes)
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw APIError(.invalid, "it is no text")
      }
      return try TrafficRule.list(text)
    } catch let error as APIError {
      throw APIError(.invalid, "\(path): \(error.message)", advice: error.advice)
    } catch let error as LinuxError {
      throw APIError(.invalid, "\(path): \(error.message)", advice: "mend --rules")
    }
  }

  public func rules(of name: String?) async throws -> RuleList {
    guard let name else { return hostRuleList }
    return RuleList(rules: try await machine(name).rules)
  }

  private var hostRuleList: RuleList {
    RuleList(rules: hostRules, file: context.configuration.rulesFile)
  }

  public func changeRules(of name: String?, _ change: RuleChange) async throws -> RuleList {
    if let name {
      let machine = try machine(name)
      do {
        return RuleList(rules: try await machine.changeRules(change))
      } catch {
        throw Self.apiError(error)
      }
    }
    if let file = context.configuration.rulesFile {
      throw APIError(
        .conflict, "the host's rules come from \(file)",
        advice: "change that file, and send the daemon a SIGHUP (systemctl reload dormoused)")
    }
    do {
      let inventory = context.inventory
      try await changeHostRules { rules in
        let changed = try change.applied(to: rules)
        let json = try APICoding.encoder().encode(changed)
        try await inventory.write { try $0.setSetting(Self.setting, json) }
        return changed
      }
    } catch {
      throw Self.apiError(error)
    }
    return hostRuleList
  }

  /// Reads the file with the host's rules again. One that is wrong changes nothing.
  public func reloadRules() async {
    guard let file = context.configuration.rulesFile else { return }
    do {
      try await changeHostRules { _ in try Self.rules(inFile: file) }
      logger.notice("read the host's rules again", metadata: ["rules": "\(hostRules.count)"])
    } catch {
      let message = "the host's rules stay as they were: \(error)"
      logger.error("\(message)")
      await context.events.append(nil, .warning, message, ["code": "rulesInvalid"])
    }
  }

  /// One change after the other.
  private func changeHostRules(
    _ change: @escaping @Sendable ([TrafficRule]) async throws -> [TrafficRule]
  ) async throws {
    try await hostRuleWork.add { try await self.applyToHostRules(change) }.value
  }

  private func applyToHostRules(
    _ change: @Sendable ([TrafficRule]) async throws -> [TrafficRule]
  ) async throws {
    hostRules = try await change(hostRules)
    await sendHostRules()
  }

  /// Tells the sentry; one that is not there gets them when it comes.
  func sendHostRules() async {
    do {
      _ = try await supervisor.request(.hostRules(hostRules.map(Rule.init)))
    } catch {
      logger.notice("the sentry has not got the host's rules", metadata: ["reason": "\(error)"])
    }
  }
}
