import FoundationEssentials

/// A Debian system that tests, demo and benchmarks run: kernel, initramfs and base disk, in the cache.
///
/// It has sshd (key of ``privateKey``), over IPv4 and IPv6.
public struct GuestImage: Sendable {
  /// Which system.
  public enum Kind: CaseIterable, Sendable {
    /// What virtual machines run: nginx on port 80, echo services for TCP and UDP on port 7777 and QEMU's
    /// guest agent.
    case guest
    /// What an ``EmulatedHost`` runs: QEMU, KVM and a bridge.
    case emulatedHost

    var recipe: ImageRecipe {
      switch self {
      case .guest: GuestRecipe.image
      case .emulatedHost: EmulatedHostRecipe.image
      }
    }
  }

  /// The directory that holds all of it; readable by everybody.
  public let directory: String

  /// A raw ext4 file system. Never written: guests run on overlays.
  public var disk: String { directory + "/disk.img" }
  /// An uncompressed ELF kernel, which spares the guest the decompression.
  public var kernel: String { directory + "/kernel" }
  public var initrd: String { directory + "/initrd" }
  /// Logs in as root.
  public var privateKey: String { directory + "/id_ed25519" }
  /// Knows the guests' host key, under every name.
  public var knownHosts: String { directory + "/known_hosts" }

  init(directory: String) { self.directory = directory }

  /// Kernel arguments for a system with these addresses.
  ///
  /// - Parameters:
  ///   - addresses: with prefix length, such as `10.77.1.10/24` and `fd77:1::10/64`.
  ///   - extra: further kernel arguments.
  public static func kernelArguments(addresses: [String], extra: [String] = []) -> String {
    let address = "dormouse.address=" + addresses.joined(separator: ",")
    return (EmulatedSystem.kernelArguments + [address] + extra).joined(separator: " ")
  }

  /// The image made by the present recipe, if it is in the cache.
  public static func cached(_ kind: Kind) throws -> GuestImage? {
    let directory = try CacheDirectory.path() + "/guest/" + kind.recipe.hash
    return FileManager.default.fileExists(atPath: directory)
      ? GuestImage(directory: directory) : nil
  }

  /// The image, built first when the cache does not have it, which takes some two minutes and the
  /// network. Several builders wait for one.
  ///
  /// - Parameter report: told in one line each what is being done.
  public static func ensure(
    _ kind: Kind, report: @escaping @Sendable (String) -> Void
  ) async throws -> GuestImage {
    if let image = try cached(kind) { return image }
    let guests = try CacheDirectory.path() + "/guest"
    try FileManager.default.createDirectory(
      atPath: guests, withIntermediateDirectories: true)
    let lock = try await FileLock.take(guests + "/lock") {
      report("waiting for another process that is making an image (about 2 minutes)")
    }
    defer { withExtendedLifetime(lock) {} }
    if let image = try cached(kind) { return image }
    return try await GuestImageBuilder(kind.recipe, guests: guests, report: report).build()
  }
}
