/// What of a sleeping VM's memory is read back from swap when it wakes.
public enum SwapInMode: String, Codable, Sendable, Hashable, CaseIterable {
  /// What its wakes use; the rest when the guest asks for it. Memory that it does not need stays in swap.
  case lazy
  /// Then the rest of its RAM as well, slowly, while the host has memory to spare.
  case background
}
