import QEMU
import Testing

@Suite struct CommandLineTests {
  private func machine(
    _ capabilities: QEMUCapabilities, _ change: (inout MachineRequest) -> Void
  ) throws -> MachineDescription {
    var request = MachineRequest(name: "guest-1", memoryBytes: 512 << 20)
    change(&request)
    return try MachineDescription.freeze(request, capabilities: capabilities)
  }

  /// The hardware of a machine is frozen: a change of this text breaks every guest that is asleep or is to
  /// move into a new process.
  @Test func writesAWholeMachine() throws {
    let machine = try machine(.emulation) {
      $0.cpus = 2
      $0.kernel = DirectKernel(
        kernel: "/k", initrd: "/i", commandLine: "root=/dev/vda console=ttyS0,115200")
      $0.disks = [
        DiskDescription(path: "/a,b.qcow2", format: .qcow2, serial: "root"),
        DiskDescription(path: "/data", format: .raw, readOnly: true),
      ]
      $0.interfaces = [NetworkInterfaceDescription(macAddress: "52:54:00:12:34:56")]
      $0.guestChannels = ["org.example.0"]
    }
    let line = try MachineCommandLine.build(
      machine,
      resources: MachineResources(
        monitors: [20, 21], guestChannels: [22, 23], taps: [24], disks: [25, 26], kernel: 27,
        initrd: 28))
    let expected = """
      -nodefaults
      -no-user-config
      -display none
      -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
      -name guest=guest-1,debug-threads=on
      -uuid \(machine.uuid.uuidString.lowercased())
      -machine pc-q35-10.0,memory-backend=ram0,aux-ram-share=on,smm=off,vmport=off,graphics=off,dump-guest-core=off,mem-merge=off,hpet=off
      -accel tcg,thread=multi,tb-size=64
      -cpu qemu64-v1,cx16=on,lahf-lm=on,popcnt=on,ssse3=on,sse4.1=on,sse4.2=on,aes=on,pclmulqdq=on,invtsc=off,enforce=on
      -smp cpus=2,sockets=1,cores=2,threads=1,maxcpus=2
      -m size=512M
      -object memory-backend-memfd,id=ram0,size=512M,share=on
      -rtc base=utc,clock=host
      -action panic=none
      -boot strict=on
      -S
      -chardev socket,id=monitor0,fd=3,server=on,wait=off
      -mon chardev=monitor0,mode=control
      -chardev socket,id=monitor1,fd=4,server=on,wait=off
      -mon chardev=monitor1,mode=control
      -chardev ringbuf,id=console,size=65536
      -serial chardev:console
      -object rng-builtin,id=entropy0
      -device virtio-rng-pci,id=rng0,bus=pcie.0,addr=0x1,rng=entropy0
      -device virtio-balloon-pci,id=balloon0,bus=pcie.0,addr=0x2,free-page-reporting=on
      -device virtio-serial-pci,id=serial0,bus=pcie.0,addr=0x3
      -device pvpanic-pci,id=panic0,bus=pcie.0,addr=0x4
      -chardev socket,id=channel0,fd=5,server=on,wait=off
      -device virtserialport,bus=serial0.0,nr=1,chardev=channel0,name=org.qemu.guest_agent.0
      -chardev socket,id=channel1,fd=6,server=on,wait=off
      -device virtserialport,bus=serial0.0,nr=2,chardev=channel1,name=org.example.0
      -netdev tap,id=net0,fd=7,vhost=off
      -device virtio-net-pci,id=nic0,bus=pcie.0,addr=0x8,netdev=net0,mac=52:54:00:12:34:56,romfile=
      -add-fd fd=8,set=1
      -blockdev driver=file,node-name=file0,filename=/dev/fdset/1,locking=on,read-only=off,auto-read-only=off,discard=unmap
      -blockdev driver=qcow2,node-name=disk0,file=file0,read-only=off,auto-read-only=off,discard=unmap
      -device virtio-blk-pci,id=blk0,bus=pcie.0,addr=0x10,drive=disk0,bootindex=1,serial=root
      -add-fd fd=9,set=2
      -blockdev driver=file,node-name=file1,filename=/dev/fdset/2,locking=on,read-only=on,auto-read-only=off,discard=unmap
      -blockdev driver=raw,node-name=disk1,file=file1,read-only=on,auto-read-only=off,discard=unmap
      -device virtio-blk-pci,id=blk1,bus=pcie.0,addr=0x11,drive=disk1,bootindex=2
      -kernel /proc/self/fd/10
      -initrd /proc/self/fd/11
      -append root=/dev/vda console=ttyS0,115200
      """
    #expect(lines(line.arguments) == expected.split(separator: "\n").map(String.init))
    #expect(
      line.descriptors == [3: 20, 4: 21, 5: 22, 6: 23, 7: 24, 8: 25, 9: 26, 10: 27, 11: 28])
    #expect(line.tapDescriptors == [7])
  }

  @Test func handsKVMOver() throws {
    let machine = try machine(.hardware) { _ in }
    let line = try MachineCommandLine.build(
      machine, resources: MachineResources(monitors: [20], guestChannels: [21], kvm: 30),
      incoming: "defer")
    let lines = lines(line.arguments)
    #expect(lines.contains("-add-fd fd=3,set=1"))
    #expect(lines.contains("-accel kvm,device=/dev/fdset/1"))
    #expect(lines.contains("-cpu host,invtsc=off,enforce=on"))
    #expect(lines.contains("-incoming defer"))
    #expect(line.descriptors == [3: 30, 4: 20, 5: 21])
  }

  @Test func continuesFromAState() throws {
    let machine = try machine(.emulation) { _ in }
    let line = try MachineCommandLine.build(
      machine, resources: MachineResources(monitors: [20], guestChannels: [21], state: 30))
    let lines = lines(line.arguments)
    let state = try #require(line.state)
    #expect(state == "/dev/fdset/1")
    #expect(lines.suffix(2) == ["-add-fd fd=5,set=1", "-incoming defer"])
    #expect(line.descriptors[5] == 30)
  }

  @Test func keepsTheHardwareWithOtherFiles() throws {
    let old = try machine(.emulation) {
      $0.kernel = DirectKernel(kernel: "/k", commandLine: "quiet")
      $0.disks = [DiskDescription(path: "/a", format: .raw, serial: "root")]
    }
    let new = try old.with(
      name: "copy", disks: [DiskDescription(path: "/b", format: .qcow2)], kernel: "/k2", initrd: nil
    )
    #expect(new.uuid == old.uuid)
    #expect(new.disks == [DiskDescription(path: "/b", format: .qcow2, serial: "root")])
    #expect(new.kernel == DirectKernel(kernel: "/k2", commandLine: "quiet"))
    #expect {
      try old.with(name: "copy", disks: [], kernel: "/k2", initrd: nil)
    } throws: { ($0 as? QEMUError)?.code == .invalidMachine }
    #expect {
      try old.with(name: "copy", disks: old.disks, kernel: nil, initrd: nil)
    } throws: { ($0 as? QEMUError)?.code == .invalidMachine }
  }

  static let misfits: [@Sendable (inout MachineResources) -> Void] = [
    { $0.monitors = [] }, { $0.guestChannels = [] }, { $0.guestChannels = [1, 2] },
    { $0.taps = [1] },
    { $0.disks = [1] }, { $0.kernel = 1 }, { $0.initrd = 1 }, { $0.kvm = 1 },
  ]

  @Test(arguments: misfits.indices)
  func refusesDescriptorsThatDoNotFit(index: Int) throws {
    let machine = try machine(.emulation) { _ in }
    var resources = MachineResources(monitors: [20], guestChannels: [21])
    _ = try MachineCommandLine.build(machine, resources: resources)
    CommandLineTests.misfits[index](&resources)
    #expect {
      try MachineCommandLine.build(machine, resources: resources)
    } throws: { ($0 as? QEMUError)?.code == .resources }
  }

  /// One line for each option.
  private func lines(_ arguments: [String]) -> [String] {
    arguments.reduce(into: []) { lines, argument in
      if argument.hasPrefix("-") {
        lines.append(argument)
      } else if let last = lines.popLast() {
        lines.append(last + " " + argument)
      }
    }
  }
}
