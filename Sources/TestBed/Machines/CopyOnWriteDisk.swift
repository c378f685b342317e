/// A qcow2 overlay on the guest image's disk: takes what a guest writes.
public struct CopyOnWriteDisk: Sendable, Hashable {
  public let path: String

  /// Makes an empty overlay in a directory of the lab, which takes some ten milliseconds.
  public init(of image: GuestImage, in directory: String) async throws {
    try await self.init(over: image.disk, format: "raw", in: directory)
  }

  /// The same over another overlay, which must not be written any more.
  public init(over disk: CopyOnWriteDisk, in directory: String) async throws {
    try await self.init(over: disk.path, format: "qcow2", in: directory)
  }

  private init(over base: String, format: String, in directory: String) async throws {
    path = directory + "/disk.qcow2"
    try await Command.run(
      "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", base, path)
  }
}
