/// An idle time that was said. In "never" it differs from one that
/// was not said.
struct IdleTime {
  let seconds: Double?

  init(text: String) throws {
    seconds = try Quantities.parse(idleTime: text)
  }
}
