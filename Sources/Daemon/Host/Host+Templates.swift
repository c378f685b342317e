import API
import LinuxSystem
import QEMU

extension Host {
  /// The request for a machine with all that its template decides, and its hardware, which is frozen then;
  /// as it is, and nil, when there is no template.
  func settle(_ request: CreateRequest) async throws -> (CreateRequest, MachineDescription?) {
    guard let path = request.template else { return (request, nil) }
    do {
      let template = try await onBlockingThread("template") { try Template.open(path) }
      try template.manifest.requireFit(
        try await QEMUCapabilities.probe(binary: context.configuration.qemuBinary), at: path)
      let settled = try await template.settle(request)
      let directory = context.directory.machine(settled.name)
      return (settled, try template.description(for: settled, in: directory))
    } catch {
      throw Self.apiError(error)
    }
  }
}
