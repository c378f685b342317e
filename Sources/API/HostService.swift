/// All that can be asked of a daemon. The daemon implements it, the web server offers it over HTTP,
/// and the client implements it again by asking over HTTP.
///
/// Every method throws ``APIError``. Transitions return when they are complete, with the VM as it is
/// then.
public protocol HostService: Sendable {
  /// The daemon and its host at a glance. `GET /v1/status`.
  func status() async throws -> HostStatus

  /// All VMs, by name. `GET /v1/virtual-machines`.
  func list() async throws -> [VirtualMachine]

  /// One VM. `GET /v1/virtual-machines/{name}`.
  func show(_ name: String) async throws -> VirtualMachine

  /// Describes a new VM; it is not started. `POST /v1/virtual-machines`.
  func create(_ request: CreateRequest) async throws -> VirtualMachine

  /// Forgets a stopped VM. Its image is left alone. `DELETE /v1/virtual-machines/{name}`.
  func delete(_ name: String) async throws

  /// Boots a stopped VM. `POST /v1/virtual-machines/{name}/start`.
  func start(_ name: String) async throws -> VirtualMachine

  /// Asks the guest to shut down, or ends QEMU at once when `force` is set.
  /// `POST /v1/virtual-machines/{name}/stop?force=true`.
  func stop(_ name: String, force: Bool) async throws -> VirtualMachine

  /// Puts a VM to sleep. `POST /v1/virtual-machines/{name}/sleep`.
  func sleep(_ name: String) async throws -> VirtualMachine

  /// Wakes a VM. `POST /v1/virtual-machines/{name}/wake`.
  func wake(_ name: String) async throws -> VirtualMachine

  /// Writes a VM's state into a directory, as a template for others, and stops it.
  /// `POST /v1/virtual-machines/{name}/save`.
  func save(_ name: String, to request: SaveRequest) async throws -> VirtualMachine

  /// Changes a VM's settings. `PATCH /v1/virtual-machines/{name}`.
  func set(_ name: String, _ settings: SettingsRequest) async throws -> VirtualMachine

  /// The rules of a VM, or with nil the host's. `GET /v1/virtual-machines/{name}/rules`, `GET /v1/rules`.
  func rules(of name: String?) async throws -> RuleList

  /// Changes rules; takes effect at once, on sleeping VMs too. `PUT …/rules` (``RuleList``), `POST …/rules`
  /// (``AddRuleRequest``), `DELETE …/rules/{number}`.
  func changeRules(of name: String?, _ change: RuleChange) async throws -> RuleList

  /// The events with a number above `sequence`, oldest first (nil: all that are kept). Ends after the
  /// newest one, or never when `follow` is set. `GET /v1/events?after=N&follow=true`.
  func events(after sequence: Int?, follow: Bool) async throws -> AsyncThrowingStream<
    Event, any Error
  >

  /// Looks at the host and says what is missing. `GET /v1/doctor`.
  func doctor() async throws -> DoctorReport
}
