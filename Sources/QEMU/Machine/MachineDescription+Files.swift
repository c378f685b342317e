extension MachineDescription {
  /// The same hardware, UUID and addresses included, with other files behind it: what a saved state of
  /// this machine can continue on.
  ///
  /// - Parameters:
  ///   - name: see ``MachineRequest/name``; the guest does not see it.
  ///   - disks: as many as the machine has.
  ///   - kernel: where its kernel and initrd lie now; its command line stays.
  /// - Throws: ``QEMUError/Code/invalidMachine`` when the files do not fit the hardware.
  public func with(
    name: String, disks: [DiskDescription], kernel file: String?, initrd: String?
  ) throws(QEMUError) -> MachineDescription {
    guard disks.count == self.disks.count else {
      throw QEMUError(
        .invalidMachine, "the machine has \(self.disks.count) disks and is given \(disks.count)")
    }
    guard (file != nil) == (kernel != nil), (initrd != nil) == (kernel?.initrd != nil) else {
      throw QEMUError(
        .invalidMachine, "kernel and initrd must be given exactly if the machine has them")
    }
    let disks = zip(disks, self.disks).map { new, old in
      // What the guest sees of the disk stays.
      DiskDescription(
        path: new.path, format: new.format, readOnly: old.readOnly, serial: old.serial)
    }
    return MachineDescription(
      name: name, uuid: uuid, machineType: machineType, accelerator: accelerator,
      cpuModel: cpuModel, memoryBytes: memoryBytes, cpus: cpus,
      kernel: kernel.map { old in
        DirectKernel(kernel: file ?? "", initrd: initrd, commandLine: old.commandLine)
      },
      disks: disks, interfaces: interfaces, guestChannels: guestChannels)
  }
}
