import FoundationEssentials

enum Paths {
  /// The daemon has a working directory of its own, so that it is told absolute paths.
  static func absolute(_ path: String) -> String {
    URL(filePath: path).standardizedFileURL.path(percentEncoded: false)
  }
}
