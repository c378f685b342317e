import API
import FoundationEssentials
import Frames
import Inventory
import Logging
import Seamless

extension Machine {
  /// The rules that a record holds. Those of a newer release may not be readable; without any the built-in
  /// verdicts hold.
  static func rules(in json: Data?, _ logger: Logger) -> [TrafficRule] {
    guard let json else { return [] }
    do {
      return try APICoding.decoder().decode([TrafficRule].self, from: json)
    } catch {
      logger.warning("the VM's rules cannot be read", metadata: ["error": "\(error)"])
      return []
    }
  }

  /// Changes the rules: first in the record, then, whatever the VM is doing, in its sentry. One change
  /// after the other.
  func changeRules(_ change: RuleChange) async throws -> [TrafficRule] {
    try await ruleWork.add { try await self.applyToRules(change) }.value
    return rules
  }

  private func applyToRules(_ change: RuleChange) async throws {
    let name = name
    let changed = try change.applied(to: rules)
    let json = try APICoding.encoder().encode(changed)
    try await context.inventory.write { transaction in
      _ = try transaction.update(name) { $0.rulesJSON = json }
    }
    rules = changed
    await sendRules()
  }

  /// Tells the sentry which rules hold. One that is not there, or does not know the VM, gets them when the
  /// VM is entrusted to it.
  func sendRules() async {
    guard state.running != nil || memo.running != nil else { return }
    do {
      _ = try await context.sentry.request(.rules(name: name, rules.map(Rule.init)))
    } catch {
      logger.notice("the sentry has not got the rules yet", metadata: ["reason": "\(error)"])
    }
  }
}

extension Rule {
  /// The rule in the form in which it is matched.
  init(_ rule: TrafficRule) {
    let transport: Transport =
      switch rule.transport {
      case .any: .any
      case .tcp: .tcp
      case .udp: .udp
      case .icmp: .icmp
      }
    let verdict: Verdict =
      switch rule.verdict {
      case .wake: .wake
      case .ignore: .ignore
      case .refuse: .refuse
      case .defer(let seconds): .defer(wakeAfterSeconds: seconds.map(UInt32.init(clamping:)))
      }
    self.init(
      source: rule.source.map { Network(IPAddress($0.bytes), prefixLength: $0.prefixLength) },
      transport: transport, ports: rule.ports, verdict: verdict)
  }
}

extension IPAddress {
  /// - Parameter bytes: 4 or 16, in network byte order.
  fileprivate init(_ bytes: [UInt8]) {
    func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
    if bytes.count == 16 {
      self = .v6(IPv6Address(high: number(bytes[..<8]), low: number(bytes[8...])))
    } else {
      self = .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: number(bytes[...]))))
    }
  }
}
