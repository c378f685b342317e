import API
import LinuxNetwork
import QEMU
import Seamless

extension Machine {
  /// How long the guest's agent gets to answer at all, and to tell all ports.
  static let portAnswerTime = Duration.seconds(3)
  static let portTime = Duration.seconds(8)
  /// An agent that does not answer, or must not read files, is left alone for so long.
  static let portPause = Duration.seconds(600)

  /// Lets the sentry know which ports the guest uses, if its agent tells and it matters: when the guest has
  /// refused nobody lately, no port can be known to be closed. When it fails, none is, and SYNs wake.
  func tellPorts(of running: RunningMachine) async {
    let trust: UsedPorts.Trust
    switch context.configuration.closedPorts {
    case .exact: trust = .exact
    case .trustAgent: trust = .list
    case .never: return
    }
    guard let lines = running.lines, CursorTable.remembersRefusals(in: lines.cursors),
      ContinuousClock.now >= nextPortQuestion
    else { return }
    do {
      let ports = try await usedPorts(trust)
      _ = try await context.sentry.request(.ports(name: name, ports))
      logger.debug(
        "the sentry knows the guest's ports",
        metadata: ["tcp": "\(ports.tcp.count)", "udp": "\(ports.udp.count)"])
    } catch {
      logger.info("the guest's ports are not known", metadata: ["reason": "\(error)"])
      if error is QMPError { nextPortQuestion = .now + Self.portPause }
    }
  }

  /// The guest is a stranger: if it lies, it is refused connections in its own name.
  private func usedPorts(_ trust: UsedPorts.Trust) async throws -> UsedPorts {
    let deadline = ContinuousClock.now + Self.portTime
    let agent = try await guestAgent(within: Self.portAnswerTime)
    defer { agent.close() }
    var ports: [Set<UInt16>] = []
    for kind in ["tcp", "udp"] {
      var used: Set<UInt16> = []
      for family in ["", "6"] {
        let path = "/proc/net/" + kind + family
        do {
          let listing = try await agent.readFile(
            path, limit: SocketListing.maximumBytes, deadline: deadline - .now)
          used.formUnion(try SocketListing.ports(in: listing))
        } catch let error as QMPError where family == "6" && error.isMissingFile {
          // A guest without IPv6.
          continue
        }
      }
      guard used.count <= UsedPorts.limit else { throw SocketListing.Unusable("too many ports") }
      ports.append(used)
    }
    return UsedPorts(trust: trust, tcp: ports[0].sorted(), udp: ports[1].sorted())
  }
}
