import API
import Foundation
import QEMU
import Templates
import Testing

/// What a template's directory may hold, good and bad. Real states are in the integration tests.
@Suite("Templates", .timeLimit(.minutes(1)))
struct TemplateFormatTests {
  private static let emulation = QEMUCapabilities(
    binary: "/qemu", version: QEMUVersion(major: 10, minor: 0, micro: 2),
    machineType: "pc-q35-10.0", accelerator: .tcg, acceleratorReason: "no KVM here")

  private func manifest(
    accelerator: Accelerator = .tcg, stateBytes: Int64 = 8, diskBytes: UInt64? = 4096
  ) throws -> TemplateManifest {
    let host = QEMUCapabilities(
      binary: "/qemu", version: Self.emulation.version, machineType: "pc-q35-10.0",
      accelerator: accelerator, acceleratorReason: "")
    let machine = try MachineDescription.freeze(
      MachineRequest(
        name: "original", memoryBytes: 256 << 20, cpus: 2,
        kernel: DirectKernel(kernel: "/k", initrd: "/i", commandLine: "quiet"),
        disks: diskBytes == nil ? [] : [DiskDescription(path: "/disk", format: .qcow2)],
        interfaces: [NetworkInterfaceDescription(macAddress: "52:54:00:00:00:01")]),
      capabilities: host)
    return try TemplateManifest(
      qemu: host.version, machine: machine, stateBytes: stateBytes, diskBytes: diskBytes)
  }

  /// Writes a whole template, with a state of eight bytes.
  private func write(_ manifest: TemplateManifest, to path: String) throws {
    try Data("a kernel".utf8).write(to: URL(filePath: path + ".kernel"))
    try Data("an initrd".utf8).write(to: URL(filePath: path + ".initrd"))
    let draft = try TemplateDraft.make(at: path, needing: 8)
    try Data("12345678".utf8).write(to: URL(filePath: path + "/state"))
    try draft.complete(manifest, kernel: path + ".kernel", initrd: path + ".initrd")
    try TemplateDraft.publish(path)
  }

  @Test("A template is read as it was written, and only once it is whole")
  func whole() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/web"
      let manifest = try manifest()
      try write(manifest, to: path)
      // A second daemon may do the last step again.
      try TemplateDraft.publish(path)
      let template = try Template.open(path)
      #expect(template.manifest == manifest)
      let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
      #expect(mode as? Int == 0o700)
      // A finished one is not taken away by whoever clears up.
      TemplateDraft.discard(path)
      #expect(try Template.open(path).manifest == manifest)

      try FileManager.default.moveItem(
        atPath: path + "/template.json", toPath: path + "/template.json.unfinished")
      #expect(throws: TemplateError.self) { try Template.open(path) }
      TemplateDraft.discard(path)
      #expect(!FileManager.default.fileExists(atPath: path))
    }
  }

  @Test("A draft needs a new directory, and room; otherwise it leaves nothing")
  func drafts() async throws {
    try await withTemporaryDirectory { directory in
      let taken = #expect(throws: APIError.self) {
        try TemplateDraft.make(at: directory, needing: 0)
      }
      #expect(taken?.code == .invalid)
      #expect(throws: APIError.self) {
        try TemplateDraft.make(at: directory + "/no/parent", needing: 0)
      }
      let full = #expect(throws: TemplateError.self) {
        try TemplateDraft.make(at: directory + "/full", needing: 1 << 60)
      }
      #expect(full?.code == .noRoom)
      let left = try FileManager.default.contentsOfDirectory(atPath: directory)
      #expect(left.isEmpty)
    }
  }

  @Test(
    "What is cut, mangled or of another kind is called damaged",
    arguments: ["", "{", "[]", "{}", #"{"format":"1"}"#, #"{"format":1}"#, "\u{0}\u{1}"])
  func damagedManifests(text: String) {
    let error = #expect(throws: TemplateError.self) {
      try TemplateManifest.decode(Array(text.utf8), at: "/t")
    }
    #expect(error?.code == .damaged)
  }

  @Test(
    "A machine that nobody could have saved is damaged",
    arguments: [
      (#""cpus" : 2"#, #""cpus" : -1"#), (#""memoryBytes" : "#, #""memoryBytes" : 1"#),
      (#""machineType" : ""#, #""machineType" : "pc,"#),
      ("org.qemu.guest_agent.0", "org.example.0"),
    ])
  func impossibleMachines(part: String, forged: String) throws {
    let text = String(decoding: try manifest().encoded(), as: UTF8.self)
    let changed = text.replacing(part, with: forged)
    #expect(changed != text)
    let error = #expect(throws: TemplateError.self) {
      try TemplateManifest.decode(Array(changed.utf8), at: "/t")
    }
    #expect(error?.code == .damaged)
  }

  @Test("Every cut of a manifest is damaged, and a huge one is not read")
  func cuts() async throws {
    let bytes = try manifest().encoded()
    for length in stride(from: 0, to: bytes.count - 2, by: 7) {
      let error = #expect(throws: TemplateError.self) {
        try TemplateManifest.decode(Array(bytes.prefix(length)), at: "/t")
      }
      #expect(error?.code == .damaged)
    }
    try await withTemporaryDirectory { directory in
      let path = directory + "/web"
      try write(manifest(), to: path)
      try Data(count: TemplateManifest.maximumBytes + 1)
        .write(to: URL(filePath: path + "/template.json"))
      let error = #expect(throws: TemplateError.self) { try Template.open(path) }
      #expect(error?.code == .damaged)
    }
  }

  @Test("A state of another length, or no file, is damaged")
  func states() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/web"
      try write(manifest(stateBytes: 9), to: path)
      let short = #expect(throws: TemplateError.self) { try Template.open(path) }
      #expect(short?.code == .damaged)
      try FileManager.default.removeItem(atPath: path + "/state")
      #expect(mkfifo(path + "/state", 0o600) == 0)
      let fifo = #expect(throws: TemplateError.self) { try Template.open(path) }
      #expect(fifo?.code == .damaged)
    }
  }

  @Test("Another format, QEMU or host does not fit, and it is said why")
  func unfit() throws {
    let manifest = try manifest()
    try manifest.requireFit(Self.emulation, at: "/t")
    let later = QEMUCapabilities(
      binary: "/qemu", version: QEMUVersion(major: 10, minor: 1, micro: 0),
      machineType: "pc-q35-10.1", accelerator: .tcg, acceleratorReason: "")
    let version = #expect(throws: TemplateError.self) { try manifest.requireFit(later, at: "/t") }
    #expect(version?.code == .unfit)
    #expect(version?.message.contains("10.1.0") == true)
    let virtual = try self.manifest(accelerator: .kvm)
    let noKVM = #expect(throws: TemplateError.self) {
      try virtual.requireFit(Self.emulation, at: "/t")
    }
    #expect(noKVM?.code == .unfit)
    let text = String(decoding: try manifest.encoded(), as: UTF8.self)
      .replacing(#""format" : 1"#, with: #""format" : 2"#)
    let format = #expect(throws: TemplateError.self) {
      try TemplateManifest.decode(Array(text.utf8), at: "/t")
    }
    #expect(format?.code == .unfit)
  }

  @Test("The template decides the hardware, and a request that wants another is refused")
  func settling() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/web"
      try write(manifest(), to: path)
      let image = directory + "/disk.img"
      try Data(count: 4096).write(to: URL(filePath: image))
      let template = try Template.open(path)
      let request = CreateRequest(
        name: "copy", memoryBytes: 0, cpus: 0, image: image, imageFormat: .raw,
        networks: [.init(bridge: "br1")], template: path)
      let settled = try await template.settle(request)
      #expect(settled.memoryBytes == 256 << 20)
      #expect(settled.cpus == 2)
      #expect(settled.kernel == path + "/kernel")
      #expect(settled.initrd == path + "/initrd")
      #expect(settled.kernelCommandLine == "quiet")
      #expect(settled.networks.first?.macAddress == "52:54:00:00:00:01")

      var other = request
      other.networks[0].macAddress = "52:54:00:00:00:02"
      await refused(other, by: template, "can have no other")
      other = request
      other.networks = []
      await refused(other, by: template, "1 network interfaces")
      other = request
      other.image = nil
      await refused(other, by: template, "needs an image")
      try Data(count: 8192).write(to: URL(filePath: image))
      await refused(request, by: template, "a disk of 8192 bytes")
    }
  }

  private func refused(_ request: CreateRequest, by template: Template, _ words: String) async {
    let error = await #expect(throws: APIError.self) { try await template.settle(request) }
    #expect(error?.code == .invalid)
    #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
  }
}
