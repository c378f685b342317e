import FoundationEssentials
import SystemPackage

/// Makes a system image from packages. Needs root and the network, mounts nothing, and leaves nothing in
/// the cache unless it comes to its end.
struct GuestImageBuilder {
  private let recipe: ImageRecipe
  private let guests: String
  private let work: String
  private let report: @Sendable (String) -> Void

  /// The builder; the caller holds the lock of the directory `guests`.
  init(
    _ recipe: ImageRecipe, guests: String, report: @escaping @Sendable (String) -> Void
  ) {
    self.recipe = recipe
    self.guests = guests
    work = guests + "/build"
    self.report = report
  }

  private var root: String { work + "/root" }
  private var image: GuestImage { GuestImage(directory: work + "/image") }

  func build() async throws -> GuestImage {
    if FileManager.default.fileExists(atPath: work) {
      report("removing what an interrupted build of an image left (up to 1 minute)")
    }
    // Its debootstrap may still run: the inner lock waits for it.
    try await Command.run(
      "flock", guests + "/debootstrap.lock", "rm", "-rf", work, deadline: .seconds(600))
    for directory in [root, image.directory] {
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true)
    }
    let mirror = try await Self.mirror()
    report(
      "making the \(recipe.name): Debian \(ImageRecipe.suite) from \(mirror) (about 2 minutes)")
    try await installPackages(from: mirror)
    report("making the \(recipe.name): kernel, initramfs, disk (about 15 seconds)")
    try await makeInitramfs()
    try await extractKernel()
    try await configure()
    try await Command.run(
      "mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", "root",
      // Otherwise the guest's kernel initialises them while it should be idle.
      "-E", "lazy_itable_init=0,lazy_journal_init=0",
      "-d", root, image.disk, ImageRecipe.diskSize, deadline: .seconds(300))
    try await Command.run(
      "chmod", "0644", image.disk, image.kernel, image.initrd, image.knownHosts)
    let finished = GuestImage(directory: guests + "/" + recipe.hash)
    try await Command.run("sync", "--file-system", image.disk, deadline: .seconds(300))
    try FileManager.default.moveItem(atPath: image.directory, toPath: finished.directory)
    try await Command.run("rm", "-rf", work, deadline: .seconds(300))
    return finished
  }

  /// The package archive that this machine's apt uses.
  static func mirror() async throws -> String {
    let lines = try await Command.run(
      "apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian")
    guard let first = lines.split(separator: "\n").first else {
      throw TestBedError(
        code: .unprepared,
        message: "apt knows no Debian archive; run apt-get update, or add one to its sources")
    }
    return String(first)
  }

  private func installPackages(from mirror: String) async throws {
    let log = work + "/debootstrap.log"
    do {
      try await Command.run(
        // The mounts that debootstrap makes vanish with it; the lock tells the next builder that it runs.
        "flock", guests + "/debootstrap.lock", "unshare", "--mount", "sh", "-c",
        "exec debootstrap --variant=minbase --include=\"$1\" \"$2\" \"$3\" \"$4\" >\"$5\" 2>&1",
        "sh", recipe.packages.joined(separator: ","), ImageRecipe.suite, root, mirror, log,
        deadline: .seconds(1800))
    } catch let error as TestBedError where error.code == .command {
      let lines = ((try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
        .split(separator: "\n").suffix(5).joined(separator: "\n")
      throw TestBedError(code: .command, message: "debootstrap failed:\n\(lines)")
    }
  }

  // MARK: - Kernel and initramfs

  private func kernelRelease() throws -> String {
    let releases = try FileManager.default.contentsOfDirectory(atPath: root + "/lib/modules")
    guard let release = releases.first, releases.count == 1 else {
      throw TestBedError(
        code: .malformed, message: "expected one kernel in the image, found \(releases)")
    }
    return release
  }

  private func makeInitramfs() async throws {
    let tree = work + "/initramfs"
    for directory in ["bin", "dev", "proc", "root", "modules"] {
      try FileManager.default.createDirectory(
        atPath: tree + "/" + directory, withIntermediateDirectories: true)
    }
    try await Command.run("cp", "/bin/busybox", tree + "/bin/busybox")
    try write(recipe.initScript, to: tree + "/init")
    try await Command.run("chmod", "0755", tree + "/init")

    let release = try kernelRelease()
    var loaded: [String] = []
    for module in recipe.modules {
      let lines = try await Command.run(
        "modprobe", "-d", root, "-S", release, "--show-depends", module)
      for line in lines.split(separator: "\n") {
        let words = line.split(separator: " ")
        guard words.count >= 2, words[0] == "insmod", !loaded.contains(String(words[1])) else {
          continue
        }
        loaded.append(String(words[1]))
      }
    }
    // Their numbers are the order in which /init loads them.
    for (index, source) in loaded.enumerated() {
      let copy = "\(tree)/modules/\(10 + index).ko"
      if source.hasSuffix(".xz") {
        try await Command.run("cp", source, copy + ".xz")
        try await Command.run("xz", "--decompress", copy + ".xz")
      } else {
        try await Command.run("cp", source, copy)
      }
    }
    try await Command.run(
      "sh", "-c", "find . | cpio --create --format=newc --owner=0:0 --quiet > \"$1\"",
      "sh", image.initrd, directory: FilePath(tree))
  }

  /// Takes the ELF kernel out of the bzImage (Documentation/arch/x86/boot.rst): QEMU starts it by its PVH
  /// entry, and the guest is spared seconds of decompression.
  private func extractKernel() async throws {
    let path = root + "/boot/vmlinuz-" + (try kernelRelease())
    let bytes = try Data(contentsOf: URL(filePath: path))
    func number(at offset: Int) -> Int {
      var value = 0
      for byte in bytes[offset..<offset + 4].reversed() { value = value << 8 | Int(byte) }
      return value
    }
    let zstandard: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]
    guard bytes.count > 0x250, Array(bytes[0x202..<0x206]) == Array("HdrS".utf8) else {
      throw TestBedError(code: .malformed, message: "\(path) is no bzImage")
    }
    let setupSectors = bytes[0x1f1] == 0 ? 4 : Int(bytes[0x1f1])
    let start = (setupSectors + 1) * 512 + number(at: 0x248)
    // The last four bytes are the uncompressed size, for the kernel's own decompressor.
    let end = start + number(at: 0x24c) - 4
    guard start + 4 < end, end <= bytes.count, Array(bytes[start..<start + 4]) == zstandard else {
      throw TestBedError(
        code: .malformed, message: "the kernel in \(path) is not compressed with zstd")
    }
    try bytes[start..<end].write(to: URL(filePath: image.kernel + ".zst"))
    try await Command.run(
      "zstd", "--quiet", "--decompress", "--rm", image.kernel + ".zst", "-o", image.kernel)
  }

  // MARK: - Root file system

  private func configure() async throws {
    try await Command.run(
      ["sh", "-c", "cd \"$1\" && shift && for pattern; do rm -rf ./$pattern; done", "sh", root]
        + recipe.removed)
    for (path, content) in recipe.files { try write(content, to: root + "/" + path) }
    for (path, target) in recipe.links {
      let link = root + "/" + path
      try FileManager.default.createDirectory(
        atPath: FilePath(link).removingLastComponent().string, withIntermediateDirectories: true)
      try await Command.run("ln", "--symbolic", "--force", "--no-dereference", target, link)
    }
    try await makeKey(image.privateKey)
    let login = root + "/root/.ssh"
    try await Command.run("install", "-d", "-m", "0700", login)
    try await Command.run("cp", image.privateKey + ".pub", login + "/authorized_keys")
    let hostKey = root + "/etc/ssh/ssh_host_ed25519_key"
    try await makeKey(hostKey)
    let words = try String(contentsOfFile: hostKey + ".pub", encoding: .utf8)
      .split(separator: " ")
    guard words.count >= 2 else {
      throw TestBedError(code: .malformed, message: "ssh-keygen wrote no public key")
    }
    try write("* \(words[0]) \(words[1])\n", to: image.knownHosts)
  }

  private func makeKey(_ path: String) async throws {
    try await Command.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f", path)
  }

  private func write(_ text: String, to path: String) throws {
    try FileManager.default.createDirectory(
      atPath: FilePath(path).removingLastComponent().string, withIntermediateDirectories: true)
    try Data(text.utf8).write(to: URL(filePath: path))
  }
}
