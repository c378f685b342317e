import API
import FoundationEssentials
import Glibc
import LinuxSystem
import QEMU

/// A saved machine in a directory, complete and open: any number of machines can continue from it.
///
/// ```
/// DIR/state                   memory and devices, see QMPClient.saveState
/// DIR/kernel, initrd          what the machine boots from next time, if it has them
/// DIR/template.json           written last: without it there is no template
/// ```
package struct Template: Sendable {
  package static let manifestName = "template.json"
  static let unfinishedManifestName = "template.json.unfinished"
  package static let stateName = "state"
  static let kernelName = "kernel"
  static let initrdName = "initrd"

  package let path: String
  package let manifest: TemplateManifest
  /// Open for reading only.
  package let state: HeldFile

  /// Opens a template and checks that it is whole, as far as lengths tell. Blocks for as long as the disk
  /// takes.
  ///
  /// - Throws: ``TemplateError/Code/damaged``, ``TemplateError/Code/unfit``.
  package static func open(_ path: String) throws(TemplateError) -> Template {
    let manifestPath = "\(path)/\(manifestName)"
    let bytes: [UInt8]
    do {
      let file = OwnedFileDescriptor(owning: try regularFile(manifestPath))
      bytes = try KernelFile.bytes(
        of: file.rawValue, named: manifestPath, limit: TemplateManifest.maximumBytes)
    } catch {
      throw TemplateError(.damaged, "\(path) is no template, or an unfinished one: \(error)")
    }
    let manifest = try TemplateManifest.decode(bytes, at: path)
    do {
      let number = try regularFile("\(path)/\(stateName)")
      let state = HeldFile(owning: OwnedFileDescriptor(owning: number))
      var status = stat()
      try checked("look at \(path)/\(stateName)", fstat(number, &status))
      guard status.st_size == manifest.stateBytes else {
        throw TemplateError(
          .damaged,
          "the template \(path) is damaged: its state has \(status.st_size) bytes, not "
            + "\(manifest.stateBytes)")
      }
      return Template(path: path, manifest: manifest, state: state)
    } catch {
      throw error as? TemplateError
        ?? TemplateError(.damaged, "the template \(path) is damaged: \(error)")
    }
  }

  /// Not a FIFO, whose other end would be waited for.
  private static func regularFile(_ path: String) throws -> CInt {
    let number = try checked(
      "open \(path)", Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK))
    var status = stat()
    guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(number)
      throw TemplateError(.damaged, "\(path) is not a regular file")
    }
    return number
  }

  /// The request for a machine from this template with all that the template decides.
  ///
  /// - Throws: `APIError` `.invalid` when the request wants something else than the template has.
  package func settle(_ request: CreateRequest) async throws -> CreateRequest {
    let machine = manifest.machine
    var result = request
    result.memoryBytes = machine.memoryBytes
    result.cpus = machine.cpus
    result.kernel = machine.kernel.map { _ in "\(path)/\(Self.kernelName)" }
    result.initrd = machine.kernel?.initrd.map { _ in "\(path)/\(Self.initrdName)" }
    result.kernelCommandLine = machine.kernel?.commandLine
    guard request.networks.count == machine.interfaces.count else {
      throw APIError(
        .invalid,
        "the template's machine has \(machine.interfaces.count) network interfaces, "
          + "\(request.networks.count) are asked for")
    }
    for (index, interface) in machine.interfaces.enumerated() {
      let address = interface.macAddress
      if let wish = request.networks[index].macAddress, wish != address {
        throw APIError(
          .invalid, "the template's machine has the address \(address) and can have no other")
      }
      result.networks[index].macAddress = address
    }
    guard (request.image == nil) == (manifest.diskBytes == nil) else {
      throw APIError(
        .invalid,
        manifest.diskBytes == nil
          ? "the template's machine has no disk" : "the template's machine needs an image",
        advice: "give it a copy-on-write image over the disk of the machine that was saved")
    }
    if let image = request.image {
      let size = try await DiskImage.inspect(path: image).virtualSize
      guard size == manifest.diskBytes else {
        throw APIError(
          .invalid,
          "\(image) is a disk of \(size) bytes, the template's has \(manifest.diskBytes ?? 0)",
          advice: "give it a copy-on-write image over the disk of the machine that was saved")
      }
    }
    return result
  }
}
