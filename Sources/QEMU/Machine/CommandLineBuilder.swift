/// The pieces of a machine's command line, in the order in which the guest's hardware is to be found.
struct CommandLineBuilder {
  private(set) var arguments: [String] = []
  private(set) var descriptors: [CInt: CInt] = [:]
  /// 0, 1 and 2 are the standard streams.
  private var nextDescriptor: CInt = 3
  private var nextSet = 1

  /// One item of an option's comma-separated list.
  enum Item {
    case value(String)
    case key(String, String)

    /// A comma within a value is written twice.
    var text: String {
      switch self {
      case .value(let value): Item.escaped(value)
      case .key(let key, let value): "\(key)=\(Item.escaped(value))"
      }
    }

    private static func escaped(_ value: String) -> String {
      value.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }
  }

  mutating func add(_ option: String, _ items: [Item] = []) {
    arguments.append(option)
    if !items.isEmpty { arguments.append(items.map(\.text).joined(separator: ",")) }
  }

  /// Lets QEMU inherit a descriptor; returns the number it has there.
  private mutating func inherit(_ descriptor: CInt) -> CInt {
    let number = nextDescriptor
    nextDescriptor += 1
    descriptors[number] = descriptor
    return number
  }

  /// The same, for what QEMU wants to open by a path.
  private mutating func inheritSet(_ descriptor: CInt) -> String {
    let set = nextSet
    nextSet += 1
    add("-add-fd", [.key("fd", "\(inherit(descriptor))"), .key("set", "\(set)")])
    return "/dev/fdset/\(set)"
  }

  // MARK: - Parts

  mutating func addMachine(_ machine: MachineDescription, kvm: CInt?) {
    add("-nodefaults")
    add("-no-user-config")
    add("-display", [.value("none")])
    // What QEMU never needs once it runs, a guest that breaks into it shall not have.
    add(
      "-sandbox",
      [
        .value("on"), .key("obsolete", "deny"), .key("elevateprivileges", "deny"),
        .key("spawn", "deny"), .key("resourcecontrol", "deny"),
      ])
    add("-name", [.key("guest", machine.name), .key("debug-threads", "on")])
    add("-uuid", [.value(machine.uuid.uuidString.lowercased())])
    // Everything with a default of "auto" is said: what it means depends on host and version.
    add(
      "-machine",
      [
        .value(machine.machineType), .key("memory-backend", "ram0"), .key("aux-ram-share", "on"),
        .key("smm", "off"), .key("vmport", "off"), .key("graphics", "off"),
        .key("dump-guest-core", "off"), .key("mem-merge", "off"),
        // A guest that uses the HPET makes QEMU wake up 250 times a second for ever.
        .key("hpet", "off"),
      ])
    switch machine.accelerator {
    case .kvm:
      let device = kvm.map { inheritSet($0) }
      add("-accel", [.value("kvm")] + (device.map { [.key("device", $0)] } ?? []))
    case .tcg:
      // The buffer of translated code, in MiB. QEMU's default of 1 GiB would outweigh most guests.
      add("-accel", [.value("tcg"), .key("thread", "multi"), .key("tb-size", "64")])
    }
    // Not escaped: the model's own commas separate its features. "enforce": rather no machine than one
    // whose CPU lacks something that it was frozen with.
    arguments += ["-cpu", machine.cpuModel + ",invtsc=off,enforce=on"]
    add(
      "-smp",
      [
        .key("cpus", "\(machine.cpus)"), .key("sockets", "1"), .key("cores", "\(machine.cpus)"),
        .key("threads", "1"), .key("maxcpus", "\(machine.cpus)"),
      ])
    let mebibytes = "\(machine.memoryBytes >> 20)M"
    add("-m", [.key("size", mebibytes)])
    add(
      "-object",
      [
        .value("memory-backend-memfd"), .key("id", "ram0"), .key("size", mebibytes),
        .key("share", "on"),
      ])
    add("-rtc", [.key("base", "utc"), .key("clock", "host")])
    // A panicking guest does as its own settings say; the host only hears of it.
    add("-action", [.key("panic", "none")])
    add("-boot", [.key("strict", "on")])
    add("-S")
  }

  mutating func addMonitors(_ sockets: [CInt]) {
    for (index, socket) in sockets.enumerated() {
      addListener("monitor\(index)", socket)
      add("-mon", [.key("chardev", "monitor\(index)"), .key("mode", "control")])
    }
  }

  mutating func addFixedDevices() {
    add(
      "-chardev",
      [
        .value("ringbuf"), .key("id", MachineCommandLine.console),
        .key("size", "\(MachineCommandLine.consoleBytes)"),
      ])
    add("-serial", [.value("chardev:\(MachineCommandLine.console)")])
    add("-object", [.value("rng-builtin"), .key("id", "entropy0")])
    addPCI("virtio-rng-pci", id: "rng0", slot: 0x01, [.key("rng", "entropy0")])
    addPCI(
      "virtio-balloon-pci", id: "balloon0", slot: 0x02, [.key("free-page-reporting", "on")])
    addPCI("virtio-serial-pci", id: "serial0", slot: 0x03)
    addPCI("pvpanic-pci", id: "panic0", slot: 0x04)
  }

  mutating func addGuestChannels(_ names: [String], sockets: [CInt]) {
    for (index, (name, socket)) in zip(names, sockets).enumerated() {
      addListener("channel\(index)", socket)
      add(
        "-device",
        [
          .value("virtserialport"), .key("bus", "serial0.0"), .key("nr", "\(index + 1)"),
          .key("chardev", "channel\(index)"), .key("name", name),
        ])
    }
  }

  /// Returns the taps' numbers in QEMU.
  mutating func addInterfaces(
    _ interfaces: [NetworkInterfaceDescription], taps: [CInt]
  ) -> [CInt] {
    var numbers: [CInt] = []
    for (index, (interface, tap)) in zip(interfaces, taps).enumerated() {
      let number = inherit(tap)
      numbers.append(number)
      add(
        "-netdev",
        [
          .value("tap"), .key("id", "net\(index)"), .key("fd", "\(number)"), .key("vhost", "off"),
        ])
      // No option ROM: it would have to be the same file wherever the guest goes, and nobody boots
      // from the network here.
      addPCI(
        "virtio-net-pci", id: "nic\(index)", slot: 0x08 + index,
        [
          .key("netdev", "net\(index)"), .key("mac", interface.macAddress), .key("romfile", ""),
        ])
    }
    return numbers
  }

  mutating func addDisks(_ disks: [DiskDescription], files: [CInt]) {
    for (index, (disk, file)) in zip(disks, files).enumerated() {
      let readOnly = disk.readOnly ? "on" : "off"
      add(
        "-blockdev",
        [
          .key("driver", "file"), .key("node-name", "file\(index)"),
          .key("filename", inheritSet(file)), .key("locking", "on"), .key("read-only", readOnly),
          .key("auto-read-only", "off"), .key("discard", "unmap"),
        ])
      add(
        "-blockdev",
        [
          .key("driver", disk.format.rawValue), .key("node-name", "disk\(index)"),
          .key("file", "file\(index)"), .key("read-only", readOnly),
          .key("auto-read-only", "off"), .key("discard", "unmap"),
        ])
      var properties: [Item] = [
        .key("drive", "disk\(index)"), .key("bootindex", "\(index + 1)"),
      ]
      if let serial = disk.serial { properties.append(.key("serial", serial)) }
      addPCI("virtio-blk-pci", id: "blk\(index)", slot: 0x10 + index, properties)
    }
  }

  mutating func addKernel(_ kernel: DirectKernel, file: CInt, initrd: CInt?) {
    arguments += ["-kernel", "/proc/self/fd/\(inherit(file))"]
    if let initrd { arguments += ["-initrd", "/proc/self/fd/\(inherit(initrd))"] }
    // None of these three is a list: commas in them are just commas.
    arguments += ["-append", kernel.commandLine]
  }

  /// Returns how QEMU calls the file.
  mutating func addState(_ file: CInt) -> String { inheritSet(file) }

  private mutating func addListener(_ id: String, _ socket: CInt) {
    add(
      "-chardev",
      [
        .value("socket"), .key("id", id), .key("fd", "\(inherit(socket))"), .key("server", "on"),
        .key("wait", "off"),
      ])
  }

  private mutating func addPCI(_ device: String, id: String, slot: Int, _ properties: [Item] = []) {
    let place: [Item] = [
      .value(device), .key("id", id), .key("bus", "pcie.0"),
      .key("addr", "0x\(String(slot, radix: 16))"),
    ]
    add("-device", place + properties)
  }
}
