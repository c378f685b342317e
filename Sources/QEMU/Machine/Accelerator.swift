/// What executes the guest's instructions.
public enum Accelerator: String, Codable, Sendable, Hashable {
  /// The processor itself, by way of the kernel.
  case kvm
  /// QEMU's software emulation.
  case tcg

  /// The CPU a machine gets unless it asks for another.
  ///
  /// With KVM the host's own, which is the fastest. Under emulation `max` would be another CPU with each
  /// version of QEMU; so this is spelled out: a versioned model, with what x86-64-v2 and AES add to it.
  /// All of it is something that the emulation of QEMU 10 has. An AMD model, because guests switch
  /// the workaround for Meltdown on for Intel's, which makes each system call slow under emulation.
  public var defaultCPUModel: String {
    switch self {
    case .kvm:
      "host"
    case .tcg:
      "qemu64-v1,cx16=on,lahf-lm=on,popcnt=on,ssse3=on,sse4.1=on,sse4.2=on,aes=on,pclmulqdq=on"
    }
  }
}
