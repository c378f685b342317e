import CLinux
public import LinuxSystem
import SystemPackage

/// Tells when anyone changes the filters, queueing disciplines or links of a network namespace:
/// that of the thread that makes the value.
public struct TrafficControlMonitor: ~Copyable, Sendable {
  /// What happened to which interface (by its index).
  public enum Notice: Hashable, Sendable {
    /// A filter is gone.
    case filterDeleted(CInt)
    /// A filter is new, or changed.
    case filterAdded(CInt)
    /// A queueing discipline is gone; if it was `clsact`, all filters with it.
    case qdiscDeleted(CInt)
    /// An interface is gone from the namespace.
    case linkDeleted(CInt)
    /// A change that concerns no filter.
    case other
    /// Notices were lost: look at everything.
    case overrun
  }

  private let socket: OwnedFileDescriptor
  private var pending: [Notice] = []

  /// Starts listening: changes after this are reported.
  public init() throws(LinuxError) {
    let operation = "listen for traffic control changes"
    let socket = OwnedFileDescriptor(owning: try checked(operation, dormouse_netlink_open(1)))
    for group in [RTNLGRP_TC, RTNLGRP_LINK] {
      try checked(operation, dormouse_netlink_join(socket.rawValue, UInt32(group.rawValue)))
    }
    self.socket = socket
  }

  /// Readable (poll(2)) when ``next()`` has something. It belongs to this value.
  public var descriptor: CInt { socket.rawValue }

  /// The next notice, or nil if there is none now. Does not wait.
  public mutating func next() throws(LinuxError) -> Notice? {
    if pending.isEmpty {
      do throws(Errno) {
        pending = try receive().reversed()
      } catch .resourceTemporarilyUnavailable {
        return nil
      } catch .noBufferSpace {
        return .overrun
      } catch {
        throw LinuxError("receiving traffic control changes", error)
      }
    }
    return pending.popLast()
  }

  /// The notices of one datagram; at least one.
  private func receive() throws(Errno) -> [Notice] {
    let capacity = 65536
    while true {
      var sender: UInt32 = 0
      var size = 0
      var failure: Errno?
      let datagram = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
        size = dormouse_netlink_receive(socket.rawValue, buffer.baseAddress, capacity, &sender)
        failure = size < 0 ? Errno(rawValue: dormouse_errno()) : nil
        count = Swift.max(0, Swift.min(size, capacity))
      }
      switch failure {
      case .interrupted: continue
      case .some(let failure): throw failure
      case nil: break
      }
      // Only the kernel is believed.
      guard sender == 0 else { continue }
      guard size <= capacity, let messages = NetlinkMessage.all(in: datagram) else {
        return [.overrun]
      }
      if !messages.isEmpty { return messages.map(Notice.init) }
    }
  }
}

extension TrafficControlMonitor.Notice {
  init(_ message: NetlinkMessage) {
    // Both struct tcmsg and struct ifinfomsg have the index there.
    guard let index = message.body.integer(at: 4, as: Int32.self) else {
      self = .other
      return
    }
    switch Int(message.type) {
    case RTM_DELTFILTER, RTM_DELCHAIN: self = .filterDeleted(index)
    case RTM_NEWTFILTER: self = .filterAdded(index)
    case RTM_DELQDISC: self = .qdiscDeleted(index)
    case RTM_DELLINK:
      // Leaving a bridge is announced as the deletion of a link of the bridge family.
      self = message.body.first == 0 ? .linkDeleted(index) : .other
    default: self = .other
    }
  }
}
