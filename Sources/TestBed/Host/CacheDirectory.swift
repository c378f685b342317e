import Glibc

/// Where the test bed keeps what is expensive to make: `$XDG_CACHE_HOME/dormouse`.
public enum CacheDirectory {
  /// The directory's path, by the XDG base directory specification; it may not exist yet.
  public static func path() throws -> String {
    // The specification tells to ignore a relative path.
    if let cache = environment("XDG_CACHE_HOME"), cache.hasPrefix("/") {
      return cache + "/dormouse"
    }
    guard let home = environment("HOME"), home.hasPrefix("/") else {
      throw TestBedError(
        code: .unprepared,
        message: "neither XDG_CACHE_HOME nor HOME says where the cache is; set one of them")
    }
    return home + "/.cache/dormouse"
  }
}

/// An environment variable's value; nil when it is unset or empty.
func environment(_ name: String) -> String? {
  guard let value = getenv(name), value[0] != 0 else { return nil }
  return String(cString: value)
}
