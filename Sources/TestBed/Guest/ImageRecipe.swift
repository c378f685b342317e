/// What a system image consists of. The cache's key is a hash of all of it, so that a changed recipe makes
/// a new image and an unchanged one is never built twice.
struct ImageRecipe: Sendable {
  static let suite = "trixie"
  static let diskSize = "2G"

  /// What it makes, for messages.
  let name: String
  /// On top of debootstrap's minbase.
  let packages: [String]
  /// What the initramfs loads, with all that these depend on; the rest is built into Debian's kernel.
  let modules: [String]
  /// Text files of the root file system, by path.
  let files: [String: String]
  /// Symbolic links of the root file system, by path.
  let links: [String: String]
  /// Files that packages bring along and the system is better off without, as patterns.
  let removed: [String]
  /// /init of the initramfs.
  let initScript: String

  /// Of all that goes into the image; the kernel's arguments do not. The names of files in the cache are
  /// part of it too: the format of the directory.
  var hash: String {
    let text =
      ["format 1", Self.suite, Self.diskSize] + packages + modules + removed
      + [initScript]
      + files.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
      + links.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
    // FNV-1a, 64 bits: it only has to tell one recipe from the next.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.joined(separator: "\0").utf8 {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    return String(hash, radix: 16)
  }
}
