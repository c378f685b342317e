import CLinux
import Glibc
import SystemPackage

/// Small files that the kernel makes up as they are read: /proc, /sys, control groups.
///
/// They have no size of their own, must be written in one call, and never block for long; so they are
/// read and written in place, without a thread of their own.
public enum KernelFile {
  /// The file's bytes.
  ///
  /// - Parameter limit: more bytes than this are an error (``LinuxError/Code/malformed``), not a cut.
  /// - Throws: ``LinuxError/Code/notFound`` when there is no such file, ``LinuxError/Code/gone`` when the
  ///   process that it describes has just ended.
  public static func bytes(_ path: String, limit: Int = 1 << 20) throws(LinuxError) -> [UInt8] {
    let file = OwnedFileDescriptor(
      owning: try checked("open \(path)", dormouse_open(path, O_RDONLY, 0)))
    return try bytes(of: file.rawValue, named: path, limit: limit)
  }

  /// The bytes from the current position of an open file to its end.
  package static func bytes(
    of descriptor: CInt, named path: String, limit: Int
  ) throws(LinuxError) -> [UInt8] {
    var content: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = try checked(
        "read \(path)", dormouse_read(descriptor, &chunk, chunk.count))
      if count == 0 { return content }
      if content.count + count > limit {
        throw LinuxError(code: .malformed, message: "\(path) is longer than \(limit) bytes")
      }
      content.append(contentsOf: chunk[..<count])
    }
  }

  /// The file's text; bytes that are not UTF-8 become replacement characters. Errors as for
  /// ``bytes(_:limit:)``.
  public static func text(_ path: String, limit: Int = 1 << 20) throws(LinuxError) -> String {
    String(decoding: try bytes(path, limit: limit), as: UTF8.self)
  }

  /// The file's text without white space around it, as a number.
  public static func number(_ path: String) throws(LinuxError) -> UInt64 {
    let text = try text(path, limit: 4_096)
    let digits = text.drop { $0.isWhitespace }.prefix { !$0.isWhitespace }
    guard let value = UInt64(digits) else {
      throw LinuxError(code: .malformed, message: "\(path) holds no number")
    }
    return value
  }

  /// The names in a directory, without `.` and `..`, in no particular order.
  public static func names(in path: String) throws(LinuxError) -> [String] {
    guard let directory = opendir(path) else {
      throw LinuxError("list \(path)", Errno(rawValue: dormouse_errno()))
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
        field.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: field.pointee))
        {
          String(cString: $0)
        }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Writes the text in one call, without creating the file.
  public static func write(_ text: String, to path: String) throws(LinuxError) {
    let file = OwnedFileDescriptor(
      owning: try checked("open \(path)", dormouse_open(path, O_WRONLY, 0)))
    var text = text
    let written = text.withUTF8 { dormouse_write(file.rawValue, $0.baseAddress, $0.count) }
    try checked("write to \(path)", written)
  }
}
