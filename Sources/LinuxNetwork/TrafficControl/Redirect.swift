import CLinux

/// One of the two places at an interface where `clsact` filters see each frame (tc-bpf(8)).
public enum TrafficHook: Hashable, Sendable, CaseIterable {
  /// What the host receives from the interface: on a tap, what its reader's side wrote.
  case ingress
  /// What the host sends out of the interface: on a tap, what its reader's side would be given.
  case egress

  /// The `tcm_parent` of the filters there: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or …EGRESS).
  var parent: UInt32 {
    switch self {
    case .ingress: 0xffff_fff2
    case .egress: 0xffff_fff3
    }
  }

  var redirectAction: Int32 {
    switch self {
    case .ingress: TCA_INGRESS_REDIR
    case .egress: TCA_EGRESS_REDIR
    }
  }

  init?(redirectAction: Int32) {
    switch redirectAction {
    case TCA_INGRESS_REDIR: self = .ingress
    case TCA_EGRESS_REDIR: self = .egress
    default: return nil
    }
  }
}

/// A filter that hands all frames of a hook to another interface (tc-u32(8), tc-mirred(8)).
public struct Redirect: Hashable, Sendable {
  /// The interface that the frames are taken from.
  public var index: CInt
  /// Where at that interface.
  public var hook: TrafficHook
  /// The filter's priority; lower numbers are asked first.
  public var priority: UInt16
  /// The interface that gets them, or nil if that has been deleted: the filter then drops all.
  public var target: CInt?
  /// Whether the target sends them out (egress) or receives them (ingress).
  public var delivery: TrafficHook

  /// A description to compare with what ``RouteNetlink/redirects(on:hook:)`` finds.
  public init(
    index: CInt, hook: TrafficHook, priority: UInt16, target: CInt?, delivery: TrafficHook
  ) {
    self.index = index
    self.hook = hook
    self.priority = priority
    self.target = target
    self.delivery = delivery
  }
}

extension Redirect {
  /// nil for a filter that is no redirection by u32 and mirred.
  init?(_ message: NetlinkMessage, hook: TrafficHook) {
    // struct tcmsg: family and padding, ifindex, handle, parent, info.
    guard Int(message.type) == RTM_NEWTFILTER,
      let index = message.body.integer(at: 4, as: Int32.self),
      let parent = message.body.integer(at: 12, as: UInt32.self), parent == hook.parent,
      let info = message.body.integer(at: 16, as: UInt32.self)
    else { return nil }
    let filter = message.attributes(after: MemoryLayout<tcmsg>.size)
    guard filter.string(TCA_KIND) == "u32" else { return nil }
    let actions = filter.nested(TCA_OPTIONS).nested(TCA_U32_ACT)
    guard let first = actions.first(where: { _ in true }) else { return nil }
    let action = NetlinkAttributes(first.value)
    // struct tc_mirred: five numbers common to all actions, then what to do, then the target.
    guard action.string(TCA_ACT_KIND) == "mirred",
      let parameters = action.nested(TCA_ACT_OPTIONS)[TCA_MIRRED_PARMS],
      let kind = parameters.integer(at: 20, as: Int32.self),
      let delivery = TrafficHook(redirectAction: kind),
      let target = parameters.integer(at: 24, as: Int32.self)
    else { return nil }
    self.init(
      index: index, hook: hook, priority: UInt16(truncatingIfNeeded: info >> 16),
      target: target == 0 ? nil : target, delivery: delivery)
  }
}
