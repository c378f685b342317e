import API
import Seamless

/// What the sentry says of a VM unasked.
extension Machine {
  /// Takes one notice after the other, and returns at once: what there is to do about it may take as long as
  /// this VM's QEMU or swap takes, and notices about others need not wait for that.
  func hear(_ notice: SentryNotice) {
    let earlier = noticeWork
    noticeWork = Task {
      await earlier?.value
      await take(notice)
    }
  }

  private func take(_ notice: SentryNotice) async {
    switch notice {
    case .waking(_, let cause, let flow): await sentryWakes(cause: cause, flow: flow)
    case .awake(_, let outcome): await sentryWoke(outcome)
    case .monitorSilent(_, let message): await monitorSilent(message)
    case .monitorClosed: sentryLeft()
    }
  }
}
