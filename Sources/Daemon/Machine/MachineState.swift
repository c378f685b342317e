import API
import FoundationEssentials
import SuspendToSwap

/// Where a VM stands. What exists only in a state is that state's payload.
enum MachineState {
  case stopped
  case starting
  case awake(RunningMachine)
  case fallingAsleep(RunningMachine, Interruption)
  case asleep(RunningMachine, SleepReport)
  case waking(RunningMachine)
  /// Its state is being written to a template. Nobody but ``Machine/save(to:)`` may let it run.
  case saving(RunningMachine)
  /// QEMU has died, or could not be started.
  case failed

  /// What a VM's QEMU and network consist of, while there is a QEMU.
  var running: RunningMachine? {
    switch self {
    case .awake(let running), .fallingAsleep(let running, _), .asleep(let running, _),
      .waking(let running), .saving(let running):
      running
    case .stopped, .starting, .failed: nil
    }
  }
}
