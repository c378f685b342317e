import API
import LinuxSystem
import QEMU
import Templates

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

extension Template {
  /// The frozen hardware of a machine from this template.
  fileprivate func description(
    for request: CreateRequest, in directory: MachineDirectory
  ) throws(QEMUError) -> MachineDescription {
    try manifest.machine.with(
      name: request.name,
      disks: request.image.map { [DiskDescription(path: $0, format: request.diskFormat)] } ?? [],
      kernel: request.kernel.map { _ in directory.kernel },
      initrd: request.initrd.map { _ in directory.initrd })
  }
}

extension CreateRequest {
  /// How QEMU is to read the image.
  var diskFormat: DiskFormat { imageFormat == .qcow2 ? .qcow2 : .raw }
}
