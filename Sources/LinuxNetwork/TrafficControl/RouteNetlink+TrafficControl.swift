import CLinux
public import LinuxSystem

extension RouteNetlink {
  /// Gives an interface the hooks for filters (`clsact`), which by themselves change nothing. Does
  /// nothing if it has them.
  public borrowing func addClsact(_ index: CInt) throws(LinuxError) {
    var request = NetlinkRequest(
      RTM_NEWQDISC, flags: NLM_F_CREATE | NLM_F_EXCL, body: clsact(index))
    request.attribute(TCA_KIND, string: "clsact")
    do throws(LinuxError) {
      try socket.exchange(request, "adding clsact to interface \(index)")
    } catch  where error.errno == .fileExists {
      // The same handle may be taken by the older `ingress`, which has no egress hook.
      guard try hasClsact(index) else { throw error }
    }
  }

  /// Takes the hooks away, and with them all filters there. Does nothing if there are none.
  public borrowing func deleteClsact(_ index: CInt) throws(LinuxError) {
    do throws(LinuxError) {
      try socket.exchange(
        NetlinkRequest(RTM_DELQDISC, body: clsact(index)),
        "deleting clsact from interface \(index)")
    } catch  where error.errno == .noSuchFileOrDirectory || error.errno == .invalidArgument {
      // "Cannot find specified qdisc" has been both of these. No other reason gives them here.
    }
  }

  /// Whether the interface has the hooks.
  public borrowing func hasClsact(_ index: CInt) throws(LinuxError) -> Bool {
    // This one alone: the kernel can list those of all interfaces only, of which there may be thousands.
    let request = NetlinkRequest(RTM_GETQDISC, flags: NLM_F_ECHO, body: clsact(index))
    do throws(LinuxError) {
      return try socket.exchange(
        request, "looking for clsact at interface \(index)"
      ).contains { answer in
        Int(answer.type) == RTM_NEWQDISC && answer.body.integer(at: 4, as: Int32.self) == index
          && answer.attributes(after: MemoryLayout<tcmsg>.size).string(TCA_KIND) == "clsact"
      }
    } catch
      where [.noSuchFileOrDirectory, .invalidArgument].contains(error.errno)
      || error.code == .notFound
    {
      return false
    }
  }

  /// Hands all frames that pass a hook to another interface from now on, in one atomic step.
  ///
  /// The interface must have `clsact`. Fails with `EEXIST` if there is a filter of that priority.
  /// While the target is down or has no carrier the frames are dropped.
  ///
  /// - Parameters:
  ///   - index: the interface that the frames are taken from
  ///   - target: the interface that gets them
  ///   - delivery: `.egress` lets the target send them, `.ingress` lets it receive them
  ///   - priority: lower numbers are asked first; not 0
  public borrowing func addRedirect(
    from index: CInt, hook: TrafficHook, to target: CInt, delivery: TrafficHook,
    priority: UInt16
  ) throws(LinuxError) {
    let operation = "redirecting \(hook) of interface \(index) to interface \(target)"
    guard priority != 0 else {
      throw LinuxError("\(operation): the priority is 0", .invalidArgument)
    }
    var header = filter(index, hook, priority)
    // A number of its own within the priority makes a second one collide.
    header.tcm_handle = 1
    var request = NetlinkRequest(
      RTM_NEWTFILTER, flags: NLM_F_CREATE | NLM_F_EXCL, body: header)
    request.attribute(TCA_KIND, string: "u32")
    request.nested(TCA_OPTIONS) { options in
      options.attribute(TCA_U32_SEL, bytes: matchAll)
      options.nested(TCA_U32_ACT) { actions in
        actions.nested(1) { action in
          action.attribute(TCA_ACT_KIND, string: "mirred")
          action.nested(TCA_ACT_OPTIONS) { options in
            var parameters = tc_mirred()
            parameters.action = TC_ACT_STOLEN
            parameters.eaction = delivery.redirectAction
            parameters.ifindex = UInt32(bitPattern: target)
            options.attribute(TCA_MIRRED_PARMS, parameters)
          }
        }
      }
    }
    do throws(LinuxError) {
      try socket.exchange(request, operation)
    } catch  where error.errno == .noSpace {
      // How u32 says that the number is taken.
      throw LinuxError("\(operation): priority \(priority) is taken", .fileExists)
    }
  }

  /// Deletes the filters of one priority at a hook, in one atomic step.
  ///
  /// - Returns: false if there was none.
  @discardableResult
  public borrowing func deleteRedirect(
    from index: CInt, hook: TrafficHook, priority: UInt16
  ) throws(LinuxError) -> Bool {
    do throws(LinuxError) {
      try socket.exchange(
        NetlinkRequest(RTM_DELTFILTER, body: filter(index, hook, priority)),
        "deleting the filter of priority \(priority) at \(hook) of interface \(index)")
      return true
    } catch  where error.errno == .noSuchFileOrDirectory {
      return false
    } catch  where error.errno == .invalidArgument {
      // Without clsact the kernel calls the request invalid.
      if try hasClsact(index) { throw error }
      return false
    }
  }

  /// The redirections at a hook. Other filters there are left out. None without `clsact`, and none of
  /// an interface that does not exist.
  public borrowing func redirects(
    on index: CInt, hook: TrafficHook
  ) throws(LinuxError) -> [Redirect] {
    var header = tcmsg()
    header.tcm_ifindex = index
    header.tcm_parent = hook.parent
    return try socket.exchange(
      NetlinkRequest(RTM_GETTFILTER, flags: NLM_F_DUMP, body: header),
      "listing the filters at \(hook) of interface \(index)"
    ).compactMap { Redirect($0, hook: hook) }
  }

  private func clsact(_ index: CInt) -> tcmsg {
    var header = tcmsg()
    header.tcm_ifindex = index
    header.tcm_handle = 0xffff_0000
    header.tcm_parent = 0xffff_fff1  // TC_H_CLSACT
    return header
  }

  private func filter(_ index: CInt, _ hook: TrafficHook, _ priority: UInt16) -> tcmsg {
    var header = tcmsg()
    header.tcm_ifindex = index
    header.tcm_parent = hook.parent
    header.tcm_info = UInt32(priority) << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian)
    return header
  }

  /// A `struct tc_u32_sel` (whose first byte holds its flags) without keys: it looks at nothing, so
  /// that frames too short for a key match as well.
  private var matchAll: [UInt8] {
    var selector = [UInt8](repeating: 0, count: MemoryLayout<tc_u32_sel>.size)
    selector[0] = UInt8(TC_U32_TERMINAL)
    return selector
  }
}
