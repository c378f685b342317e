import API
import Seamless

/// What the sentry says of a VM unasked.
extension Machine {
  /// Leaves a notice for the VM, which takes one after the other. Does not wait, not even for the VM: what
  /// there is to do may take as long as its QEMU or swap takes, and notices about others have nothing to do
  /// with that.
  nonisolated func hear(_ notice: SentryNotice) {
    inbox.yield(notice)
  }

  func take(_ notice: SentryNotice) async {
    switch notice {
    case .waking(_, let cause, let flow): await sentryWakes(cause: cause, flow: flow)
    case .awake(_, let outcome): await sentryWoke(outcome)
    case .monitorSilent(_, let message): await monitorSilent(message)
    case .monitorClosed: sentryLeft()
    }
  }
}
