import FoundationEssentials
import LinuxSystem
import QEMU

/// What a template says of itself, in `template.json`. Whoever reads it has a machine before it, and reads
/// its state only if all of it fits.
package struct TemplateManifest: Codable, Sendable, Hashable {
  package static let currentFormat = 1
  /// Far above what a machine with all its devices takes.
  package static let maximumBytes = 1 << 20

  package let format: Int
  /// The QEMU that has written the state.
  package let qemu: QEMUVersion
  /// What guests on KVM have seen of the host's processor; nil for emulated guests.
  package let processor: String?
  /// The frozen hardware. The names of its files are those of the machine that was saved.
  package let machine: MachineDescription
  package let stateBytes: Int64
  /// The size of the disk as the guest sees it; nil for a machine without one.
  package let diskBytes: UInt64?
  package let savedAt: Date

  package init(
    qemu: QEMUVersion, machine: MachineDescription, stateBytes: Int64, diskBytes: UInt64?
  ) throws {
    format = Self.currentFormat
    self.qemu = qemu
    processor = machine.accelerator == .kvm ? try Self.hostProcessor() : nil
    self.machine = machine
    self.stateBytes = stateBytes
    self.diskBytes = diskBytes
    savedAt = Date()
  }

  package func encoded() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    return [UInt8](try encoder.encode(self))
  }

  /// - Throws: ``TemplateError/Code/damaged``, ``TemplateError/Code/unfit`` for one of another
  ///   release's format.
  package static func decode(_ bytes: [UInt8], at path: String) throws(TemplateError)
    -> TemplateManifest
  {
    struct Head: Decodable { let format: Int }
    let decoder = JSONDecoder()
    guard let head = try? decoder.decode(Head.self, from: Data(bytes)) else {
      throw TemplateError(.damaged, "\(path) is no template: its template.json says nothing")
    }
    guard head.format == currentFormat else {
      throw TemplateError(
        .unfit,
        "the template \(path) has the format \(head.format), this release knows \(currentFormat)")
    }
    do {
      let manifest = try decoder.decode(TemplateManifest.self, from: Data(bytes))
      try manifest.machine.validate()
      return manifest
    } catch {
      throw TemplateError(.damaged, "the template \(path) is damaged: \(error)")
    }
  }

  /// Whether a machine can continue from the state on this host.
  ///
  /// The same release of QEMU: later ones promise to read older states, but nobody has tried with this one.
  ///
  /// - Throws: ``TemplateError/Code/unfit`` with the reason.
  package func requireFit(_ capabilities: QEMUCapabilities, at path: String) throws {
    let here = capabilities.version
    guard (qemu.major, qemu.minor) == (here.major, here.minor) else {
      throw TemplateError(
        .unfit,
        "the template \(path) was saved by QEMU \(qemu), here is \(here); save it anew")
    }
    guard machine.accelerator == .kvm else { return }
    guard capabilities.accelerator == .kvm else {
      throw TemplateError(
        .unfit,
        "the template \(path) needs KVM, which does not work here: \(capabilities.acceleratorReason)"
      )
    }
    guard try processor == Self.hostProcessor() else {
      throw TemplateError(
        .unfit, "the template \(path) was saved on another processor; save it anew")
    }
  }

  /// The lines of /proc/cpuinfo by which a guest with the host's own processor model tells hosts apart.
  private static func hostProcessor() throws(LinuxError) -> String {
    // The first processor's lines are the first.
    let text = try KernelFile.text("/proc/cpuinfo", limit: 64 << 20)
    let names = ["vendor_id", "cpu family", "model", "stepping", "flags"]
    var values: [String: String] = [:]
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard let first = parts.first, parts.count == 2 else { continue }
      let name = String(first.prefix { $0 != "\t" })
      if values[name] != nil { break }
      values[name] = String(parts[1].drop { $0 == " " })
    }
    return names.map { values[$0] ?? "" }.joined(separator: "; ")
  }
}
