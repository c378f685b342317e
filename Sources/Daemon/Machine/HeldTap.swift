import LinuxNetwork

/// A tap that lives as long as somebody refers to it, or QEMU has it.
final class HeldTap: Sendable {
  private let tap: Tap

  init(_ tap: consuming Tap) {
    self.tap = tap
  }

  var name: String { tap.name }
  var number: CInt { tap.descriptor.rawValue }
}
