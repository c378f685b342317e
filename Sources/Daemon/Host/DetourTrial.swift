import LinuxNetwork
import LinuxSystem
import Seamless

/// Sets a detour up between two taps of its own, and takes it down again: the way to know that it works.
enum DetourTrial {
  static func run() throws {
    let suffix = UserIDs.freshIdentifier()
    let machine = try Tap.open(named: "dmx" + suffix, persistent: false, virtioHeader: false)
    let detourTap = try Tap.open(named: "dmy" + suffix, persistent: false, virtioHeader: false)
    let netlink = try RouteNetlink()
    guard let first = try netlink.linkIndex(named: machine.name),
      let second = try netlink.linkIndex(named: detourTap.name)
    else { throw LinuxError(code: .notFound, message: "the taps of the trial are gone") }
    let detour = Detour(machineTap: first, detourTap: second)
    try detour.prepare(netlink)
    try detour.engage(netlink)
    try detour.release(netlink)
  }
}
