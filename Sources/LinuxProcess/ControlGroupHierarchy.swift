import CLinux
import Glibc
public import LinuxSystem
import SystemPackage

/// Where this host keeps its memory control groups (cgroups(7)), and which of the two interfaces they
/// have.
///
/// Groups are made below the root of the mounted hierarchy, not below this process's own group: so they
/// survive when a service manager ends that, and the rule of version 2 that a group has either processes
/// or children with controllers is never in the way.
public struct ControlGroupHierarchy: Hashable, Sendable {
  public enum Version: Hashable, Sendable { case v1, v2 }

  public let version: Version
  /// The directory below which groups are made.
  public let base: String

  package init(version: Version, base: String) {
    self.version = version
    self.base = base
  }

  /// Finds the hierarchy that has the memory controller, version 2 first.
  ///
  /// - Parameter root: the directory in which /proc and /sys are looked up, empty for the real ones.
  /// - Throws: ``LinuxError/Code/unsupported`` when there is none.
  static func detect(root: String) throws(LinuxError) -> ControlGroupHierarchy {
    let text = try KernelFile.text("\(root)/proc/self/mountinfo", limit: 16 << 20)
    let mounts = text.split(separator: "\n").compactMap(Mount.init)
    for mount in mounts where mount.type == "cgroup2" {
      let base = root + mount.point
      let controllers = try? KernelFile.text("\(base)/cgroup.controllers", limit: 4_096)
      if words(controllers).contains("memory") {
        return ControlGroupHierarchy(version: .v2, base: base)
      }
    }
    for mount in mounts where mount.type == "cgroup" && mount.options.contains("memory") {
      return ControlGroupHierarchy(version: .v1, base: root + mount.point)
    }
    throw LinuxError(
      code: .unsupported,
      message:
        "this host has no memory control groups; boot it with cgroup_enable=memory and let it "
        + "mount /sys/fs/cgroup")
  }

  /// Makes a group, with the groups above it; one that exists is taken as it is.
  ///
  /// - Parameter relativePath: such as `dormouse/vm-1`.
  public func create(at relativePath: String) throws(LinuxError) -> MemoryControlGroup {
    let group = try group(at: relativePath)
    var directory = base
    for component in relativePath.split(separator: "/") {
      if version == .v2 { try passMemoryDown(from: directory) }
      directory += "/\(component)"
      do throws(Errno) {
        try checked(mkdir(directory, 0o755))
      } catch .fileExists {
        // Made earlier, by us or by an earlier life of ours.
      } catch {
        throw LinuxError("make the control group \(directory)", error)
      }
    }
    return group
  }

  /// A group that may or may not exist, such as one from a journal.
  public func group(at relativePath: String) throws(LinuxError) -> MemoryControlGroup {
    let components = relativePath.split(separator: "/", omittingEmptySubsequences: false)
    guard !components.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) else {
      throw LinuxError(
        code: .malformed, message: "\"\(relativePath)\" is not a relative path of a control group")
    }
    return MemoryControlGroup(version: version, path: "\(base)/\(relativePath)")
  }

  /// In version 2 a child has a controller when its parent passes it down.
  private func passMemoryDown(from directory: String) throws(LinuxError) {
    let file = "\(directory)/cgroup.subtree_control"
    if Self.words(try KernelFile.text(file, limit: 4_096)).contains("memory") { return }
    do {
      try KernelFile.write("+memory", to: file)
    } catch {
      throw LinuxError(
        code: .unsupported,
        message: "the control group \(directory) cannot pass memory control on to groups below it "
          + "(\(error)); in a container, give its control groups a parent without processes",
        errno: error.errno)
    }
  }

  private static func words(_ text: String?) -> [Substring] {
    (text ?? "").split { $0 == " " || $0 == "\n" }
  }
}

/// A line of /proc/self/mountinfo (proc(5)).
private struct Mount {
  let point: String
  let type: Substring
  /// The options of the file system as a whole; for version 1, the controllers among them.
  let options: [Substring]

  init?(_ line: Substring) {
    let fields = line.split(separator: " ")
    guard let separator = fields.firstIndex(of: "-"), separator > 5, fields.count > separator + 3
    else { return nil }
    point = EscapedPath.decode(fields[4])
    type = fields[separator + 1]
    options = fields[separator + 3].split(separator: ",")
  }
}
