import ArgumentParser
import Daemon
import ServiceLifecycle
import UnixSignals

/// Reads the host's rules again whenever somebody sends SIGHUP.
struct RulesReload: Service {
  let host: Host

  func run() async throws {
    let signals = await UnixSignalsSequence(trapping: .sighup)
    await cancelWhenGracefulShutdown {
      for await _ in signals { await host.reloadRules() }
    }
  }
}

extension DaemonConfiguration.ClosedPorts: ExpressibleByArgument {}
