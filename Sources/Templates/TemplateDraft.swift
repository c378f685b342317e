import API
import Glibc
import LinuxSystem

/// A template that is being written, in a directory made for it. Only root may look inside: it holds all
/// that the guest has in memory.
///
/// All functions block for as long as the disk takes.
package struct TemplateDraft: Sendable {
  /// Left free beyond what the state is expected to take.
  package static let margin: UInt64 = 32 << 20

  package let path: String
  /// Open for writing only.
  package let state: HeldFile

  /// Makes the directory and the file for the state.
  ///
  /// - Parameter bytes: what the state will take.
  /// - Throws: `APIError` `.invalid` when the directory cannot be made or exists already,
  ///   ``TemplateError/Code/noRoom``.
  package static func make(at path: String, needing bytes: UInt64) throws -> TemplateDraft {
    guard mkdir(path, 0o700) == 0 else {
      let reason = errno == EEXIST ? "it exists already" : String(cString: strerror(errno))
      throw APIError(
        .invalid, "the directory \(path) cannot be made: \(reason)",
        intact: "the virtual machine is awake", advice: "name a new one in an existing directory")
    }
    do {
      var room = statvfs()
      try checked("look at the file system of \(path)", statvfs(path, &room))
      let free = UInt64(room.f_bavail) * UInt64(room.f_frsize)
      guard free >= bytes + margin else {
        throw TemplateError(
          .noRoom,
          "the template needs \((bytes + margin) >> 20) MiB, at \(path) are \(free >> 20) MiB free")
      }
      let name = "\(path)/\(Template.stateName)"
      let state = OwnedFileDescriptor(
        owning: try checked(
          "make \(name)",
          open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)))
      return TemplateDraft(path: path, state: HeldFile(owning: state))
    } catch {
      discard(path)
      throw error
    }
  }

  /// The length of what has been written of the state.
  package func stateBytes() throws -> Int64 {
    var status = stat()
    try checked("look at the state in \(path)", fstat(state.number, &status))
    return Int64(status.st_size)
  }

  /// Adds all but the last step, and waits until it is on the disk.
  package func complete(_ manifest: TemplateManifest, kernel: String?, initrd: String?) throws {
    try checked("write the state in \(path) to the disk", fsync(state.number))
    for (source, name) in [(kernel, Template.kernelName), (initrd, Template.initrdName)] {
      guard let source else { continue }
      try BootFile.copy(source, to: "\(path)/\(name)")
      try Self.flush("\(path)/\(name)", O_RDONLY)
    }
    let name = "\(path)/\(Template.unfinishedManifestName)"
    let file = OwnedFileDescriptor(
      owning: try checked(
        "make \(name)", open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)))
    let bytes = try manifest.encoded()
    guard try checked("write \(name)", write(file.rawValue, bytes, bytes.count)) == bytes.count
    else { throw TemplateError(.noRoom, "there is no room for \(name)") }
    try checked("write \(name) to the disk", fsync(file.rawValue))
    try Self.flush(path, O_RDONLY | O_DIRECTORY)
  }

  /// The last step: from here on it is a template. Does nothing when it is one already.
  package static func publish(_ path: String) throws {
    let name = "\(path)/\(Template.manifestName)"
    if rename("\(path)/\(Template.unfinishedManifestName)", name) != 0 {
      let failure = errno
      guard access(name, F_OK) == 0 else {
        throw TemplateError(
          .unfinished, "\(name) cannot be made: \(String(cString: strerror(failure)))")
      }
    }
    try flush(path, O_RDONLY | O_DIRECTORY)
  }

  /// Removes what there is of an unfinished template, and nothing of a finished one.
  package static func discard(_ path: String) {
    guard access("\(path)/\(Template.manifestName)", F_OK) != 0 else { return }
    for name in [
      Template.stateName, Template.kernelName, Template.initrdName, Template.unfinishedManifestName,
    ] {
      unlink("\(path)/\(name)")
    }
    rmdir(path)
  }

  private static func flush(_ path: String, _ flags: CInt) throws {
    let file = OwnedFileDescriptor(
      owning: try checked("open \(path)", open(path, flags | O_CLOEXEC)))
    try checked("write \(path) to the disk", fsync(file.rawValue))
  }
}
