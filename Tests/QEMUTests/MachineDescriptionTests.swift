import FoundationEssentials
import QEMU
import Testing

extension QEMUCapabilities {
  static let emulation = QEMUCapabilities(
    binary: "/usr/bin/qemu-system-x86_64", version: .minimum, machineType: "pc-q35-10.0",
    accelerator: .tcg, acceleratorReason: "there is no KVM here")
  static let hardware = QEMUCapabilities(
    binary: "/usr/bin/qemu-system-x86_64", version: .minimum, machineType: "pc-q35-10.0",
    accelerator: .kvm, acceleratorReason: "a guest runs")
}

@Suite struct MachineDescriptionTests {
  private func request(_ change: (inout MachineRequest) -> Void = { _ in }) -> MachineRequest {
    var request = MachineRequest(name: "guest-1", memoryBytes: 512 << 20)
    change(&request)
    return request
  }

  @Test func settlesWhatWasLeftOpen() throws {
    let emulated = try MachineDescription.freeze(request(), capabilities: .emulation)
    #expect(emulated.machineType == "pc-q35-10.0")
    #expect(emulated.accelerator == .tcg)
    #expect(emulated.cpuModel == Accelerator.tcg.defaultCPUModel)
    #expect(emulated.guestChannels == [MachineDescription.guestAgentChannel])
    let native = try MachineDescription.freeze(request(), capabilities: .hardware)
    #expect(native.accelerator == .kvm)
    #expect(native.cpuModel == "host")
    #expect(native.uuid != emulated.uuid)
  }

  @Test func keepsWhatWasAskedFor() throws {
    let asked = request {
      $0.accelerator = .tcg
      $0.cpuModel = "max,+svm"
      $0.guestChannels = ["org.example.0"]
      $0.cpus = 4
    }
    let machine = try MachineDescription.freeze(asked, capabilities: .hardware)
    #expect(machine.accelerator == .tcg)
    #expect(machine.cpuModel == "max,+svm")
    #expect(machine.guestChannels == [MachineDescription.guestAgentChannel, "org.example.0"])
    #expect(machine.cpus == 4)
  }

  @Test func saysWhyThereIsNoKVM() {
    #expect {
      try MachineDescription.freeze(request { $0.accelerator = .kvm }, capabilities: .emulation)
    } throws: { error in
      (error as? QEMUError)?.code == .unsupported && "\(error)".contains("there is no KVM here")
    }
  }

  static let mistakes: [@Sendable (inout MachineRequest) -> Void] = [
    { $0.name = "" }, { $0.name = "a,b" }, { $0.name = "../x" },
    { $0.memoryBytes = 0 }, { $0.memoryBytes = (512 << 20) + 1 }, { $0.memoryBytes = .max },
    { $0.cpus = 0 }, { $0.cpus = 256 },
    { $0.cpuModel = "" }, { $0.cpuModel = "host -monitor" }, { $0.cpuModel = "host,+invtsc" },
    { $0.cpuModel = "host,invtsc=on" },
    { $0.kernel = DirectKernel(kernel: "") },
    { $0.kernel = DirectKernel(kernel: "/k", commandLine: "a\nb") },
    { $0.disks = [DiskDescription(path: "", format: .raw)] },
    { $0.disks = [DiskDescription(path: "/d", format: .raw, serial: "a,b")] },
    {
      $0.disks = [
        DiskDescription(path: "/d", format: .raw, serial: String(repeating: "1", count: 21))
      ]
    },
    { $0.disks = Array(repeating: DiskDescription(path: "/d", format: .raw), count: 15) },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34")] },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "53:54:00:12:34:56")] },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34:5G")] },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34:+6")] },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "00:00:00:00:00:00")] },
    { $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34:56,x=y")] },
    {
      $0.interfaces = Array(
        repeating: NetworkInterfaceDescription(macAddress: "52:54:00:12:34:56"), count: 2)
    },
    { $0.guestChannels = ["org.qemu.guest_agent.0"] }, { $0.guestChannels = ["a b"] },
    { $0.guestChannels = (0..<30).map { "c\($0)" } },
  ]

  @Test(arguments: mistakes.indices)
  func refusesMistakes(index: Int) {
    #expect {
      try MachineDescription.freeze(
        request(MachineDescriptionTests.mistakes[index]), capabilities: .emulation)
    } throws: { ($0 as? QEMUError)?.code == .invalidMachine }
  }

  @Test func survivesBeingStored() throws {
    let asked = request {
      $0.kernel = DirectKernel(kernel: "/k", initrd: "/i", commandLine: "console=ttyS0")
      $0.disks = [DiskDescription(path: "/d", format: .qcow2, serial: "root")]
      $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34:56")]
    }
    let machine = try MachineDescription.freeze(asked, capabilities: .emulation)
    let data = try JSONEncoder().encode(machine)
    #expect(try JSONDecoder().decode(MachineDescription.self, from: data) == machine)
  }
}
