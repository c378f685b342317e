import API

/// What is remembered of a VM beside its record's columns.
struct MachineMemo: Codable, Sendable {
  /// The user that the VM's QEMU runs as; nobody else's.
  let userID: UInt32
  /// The kernel objects of its QEMU, while there is one.
  var running: RuntimeRecord?
  /// The template from which the next start continues; nil once the guest has run.
  var template: String?
  var sleeps = 0
  var wakes = 0
  var lastWake: WakeReport?
  var lastFailure: VirtualMachine.Failure?

  init(userID: UInt32, template: String? = nil) {
    self.userID = userID
    self.template = template
  }
}
