/// A qcow2 overlay on the guest image's disk: takes what a guest writes.
public struct CopyOnWriteDisk: Sendable, Hashable {
  public let path: String

  /// Makes an empty overlay in a directory of the lab, which takes some ten milliseconds.
  public init(of image: GuestImage, in directory: String) async throws {
    path = directory + "/disk.qcow2"
    try await Command.run(
      "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, path)
  }
}
