import LinuxProcess
import LinuxSystem

/// Finding out whether KVM runs guests here, by letting it run one.
///
/// A nested or para-virtual KVM may open, make a machine, even execute real-mode code (it emulates that
/// instruction by instruction), and still be of no use. So the guest is a firmware of 190 bytes that does
/// what no emulation within KVM gets through in time: it switches to 64-bit mode, counts down from thirty
/// million, computes with SSE2, and writes the outcome to QEMU's debug console.
enum KVMProbe {
  /// On hardware it takes 20 ms; while an emulating KVM would take minutes.
  static let deadline = Duration.seconds(3)

  static func bestAccelerator(
    binary: String, machineType: String, credentials: Credentials?
  ) async -> (Accelerator, reason: String) {
    do throws(QEMUError) {
      let device = try KVMDevice.open()
      let firmware = try MemoryFile(content: image)
      let probe = ProbeProcess(
        binary: binary, failure: "KVM runs no guest here", credentials: credentials,
        arguments: [
          "-machine", machineType, "-add-fd", "fd=4,set=1", "-accel", "kvm,device=/dev/fdset/1",
          "-cpu", "\(Accelerator.kvm.defaultCPUModel),invtsc=off,enforce=on", "-m", "16M",
          "-bios", "/proc/self/fd/5", "-chardev", "ringbuf,id=outcome,size=64",
          "-device", "isa-debugcon,iobase=0x402,chardev=outcome",
        ],
        descriptors: [4: device.rawValue, 5: firmware.descriptor])
      let works = try await probe.run(deadline: .seconds(10), ask: runsToTheEnd)
      // Both must stay open until the process that inherits them is there.
      device.close()
      firmware.close()
      return works
        ? (.kvm, "a 64-bit guest runs on KVM")
        : (.tcg, "/dev/kvm opens, but a small guest does not get done on it within \(deadline)")
    } catch {
      return (.tcg, error.message)
    }
  }

  private static func runsToTheEnd(_ monitor: QMPClient) async throws(QMPError) -> Bool {
    let end = ContinuousClock.now + deadline
    try await monitor.cont()
    while ContinuousClock.now < end {
      if try await monitor.ringbufRead(device: "outcome", size: 16).contains(outcome) {
        return true
      }
      try? await Task.sleep(for: .milliseconds(10))
    }
    return false
  }

  /// Twice 21.
  private static let outcome: UInt8 = 42

  /// 64 KiB that end at the top of 32-bit addresses, as firmware does; the processor starts 16 bytes
  /// before the end.
  private static let image: [UInt8] = {
    var image = [UInt8](repeating: 0xF4, count: 0x10000)  // hlt
    image.replaceSubrange(0xFF00..<0xFF00 + code.count, with: code)
    image.replaceSubrange(0xFFF0..<0xFFF3, with: [0xE9, 0x0D, 0xFF])  // jmp 0xff00
    return image
  }()

  private static let code: [UInt8] = [
    // 16-bit, real mode
    0xFA,  // cli
    0x2E, 0x66, 0x0F, 0x01, 0x16, 0xB8, 0xFF,  // lgdtl %cs:gdtr
    0x0F, 0x20, 0xC0,  // mov %cr0, %eax
    0x0C, 0x01,  // or $1 (PE), %al
    0x0F, 0x22, 0xC0,  // mov %eax, %cr0
    0x66, 0xEA, 0x18, 0xFF, 0xFF, 0xFF, 0x08, 0x00,  // ljmpl $0x08, $0xffffff18
    // 32-bit, protected mode
    0xB8, 0x10, 0x00, 0x00, 0x00,  // mov $0x10, %eax
    0x8E, 0xD8,  // mov %eax, %ds
    0x8E, 0xD0,  // mov %eax, %ss
    // Page tables for the last 2 MiB below 4 GiB, where this code is.
    0xC7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00,  // movl $0x2003, 0x1000
    0xC7, 0x05, 0x18, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00,  // movl $0x3003, 0x2018
    0xC7, 0x05, 0xF8, 0x3F, 0x00, 0x00, 0x83, 0x00, 0xE0, 0xFF,  // movl $0xffe00083, 0x3ff8
    0xB8, 0x20, 0x02, 0x00, 0x00,  // mov $0x220 (OSFXSR, PAE), %eax
    0x0F, 0x22, 0xE0,  // mov %eax, %cr4
    0xB8, 0x00, 0x10, 0x00, 0x00,  // mov $0x1000, %eax
    0x0F, 0x22, 0xD8,  // mov %eax, %cr3
    0xB9, 0x80, 0x00, 0x00, 0xC0,  // mov $0xc0000080 (EFER), %ecx
    0x0F, 0x32,  // rdmsr
    0x0D, 0x00, 0x01, 0x00, 0x00,  // or $0x100 (LME), %eax
    0x0F, 0x30,  // wrmsr
    0x0F, 0x20, 0xC0,  // mov %cr0, %eax
    0x0D, 0x02, 0x00, 0x00, 0x80,  // or $0x80000002 (PG, MP), %eax
    0x83, 0xE0, 0xFB,  // and $~4 (EM), %eax
    0x0F, 0x22, 0xC0,  // mov %eax, %cr0
    0xEA, 0x72, 0xFF, 0xFF, 0xFF, 0x18, 0x00,  // ljmp $0x18, $0xffffff72
    // 64-bit, long mode
    0xB9, 0x80, 0xC3, 0xC9, 0x01,  // mov $30000000, %ecx
    0xFF, 0xC9,  // 1: dec %ecx
    0x75, 0xFC,  // jnz 1b
    0xB8, 0x15, 0x00, 0x00, 0x00,  // mov $21, %eax
    0xF2, 0x0F, 0x2A, 0xC0,  // cvtsi2sd %eax, %xmm0
    0xF2, 0x0F, 0x58, 0xC0,  // addsd %xmm0, %xmm0
    0xF2, 0x0F, 0x2C, 0xC0,  // cvttsd2si %xmm0, %eax
    0xBA, 0x02, 0x04, 0x00, 0x00,  // mov $0x402, %edx
    0xEE,  // out %al, (%dx)
    0xF4,  // 2: hlt
    0xEB, 0xFD,  // jmp 2b
    0x0F, 0x1F, 0x00,  // to a multiple of 8
    // Descriptors: none, 32-bit code, data, 64-bit code
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xFF, 0xFF, 0x00, 0x00, 0x00, 0x9B, 0xCF, 0x00,
    0xFF, 0xFF, 0x00, 0x00, 0x00, 0x93, 0xCF, 0x00,
    0xFF, 0xFF, 0x00, 0x00, 0x00, 0x9B, 0xAF, 0x00,
    0x1F, 0x00, 0x98, 0xFF, 0xFF, 0xFF,  // gdtr
  ]
}
