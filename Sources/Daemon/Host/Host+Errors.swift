import API
import Inventory
import LinuxSystem
import QEMU
import SuspendToSwap
import Templates

extension Host {
  /// What a caller is told of a failure: what was wrong, what is still intact, what to do.
  static func apiError(_ error: any Error) -> APIError {
    switch error {
    case let error as APIError: error
    case let error as DaemonError: apiError(error)
    case let error as TemplateError where error.code == .noRoom:
      APIError(
        .refused, error.message, intact: "the virtual machine is awake",
        advice: "make room, or save it elsewhere")
    case let error as TemplateError:
      APIError(.refused, error.message, intact: "no disk was touched")
    case let error as SuspendError:
      APIError(
        error.code == .interrupted ? .conflict : .refused, error.message,
        intact: "the virtual machine is awake")
    case let error as SentryError:
      error.code == .activity
        ? APIError(.refused, error.message, intact: "the virtual machine is awake")
        : APIError(
          .unavailable, error.message, intact: "the virtual machine is awake",
          advice: "dormouse doctor says how the sentry is; try again in a few seconds")
    case let error as InventoryError where error.code == .constraint:
      APIError(.conflict, error.message)
    case let error as InventoryError where error.code == .notFound:
      APIError(.notFound, error.message)
    case let error as InventoryError:
      APIError(
        .unavailable, error.description, intact: "running virtual machines go on",
        advice: "make room in the state directory, then try again")
    case let error as QMPError:
      APIError(.unavailable, "QEMU: \(error)", intact: "the virtual machine's memory and disk")
    case let error as QEMUError:
      APIError(
        .refused, error.message, intact: "its disk was not touched",
        advice: "dormouse doctor says whether QEMU is as it should be")
    case is CancellationError:
      APIError(.unavailable, "the daemon is stopping", intact: "all virtual machines go on")
    case let error as LinuxError: APIError(.internal, error.message)
    default: APIError(.internal, "\(error)")
    }
  }

  private static func apiError(_ error: DaemonError) -> APIError {
    switch error.code {
    case .wrongState: APIError(.conflict, error.message)
    case .inUse: APIError(.refused, error.message, intact: "the virtual machine is awake")
    case .startFailed: APIError(.refused, error.message, intact: "its disk was not touched")
    case .wakeFailed: APIError(.unavailable, error.message)
    case .saveFailed: APIError(.unavailable, error.message)
    default: APIError(.internal, error.message)
    }
  }
}
