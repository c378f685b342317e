/// An idle time that somebody named; "never" is one, too, and not the same as naming none.
struct IdleTime {
  /// The time in seconds; nil is never.
  let seconds: Double?

  init(text: String) throws {
    seconds = try Quantities.parse(idleTime: text)
  }
}
