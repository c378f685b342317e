/// Why a template cannot be written or used. No machine is harmed by it.
package struct TemplateError: Error, CustomStringConvertible, Sendable {
  package struct Code: RawRepresentable, Hashable, Sendable {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// There is no room for a template.
    package static let noRoom = Code(rawValue: "noRoom")
    /// All of it is written, and it could not be given its name.
    package static let unfinished = Code(rawValue: "templateUnfinished")
    /// What should be a template is none, or not whole.
    package static let damaged = Code(rawValue: "templateDamaged")
    /// The template is of another release, QEMU or host.
    package static let unfit = Code(rawValue: "templateUnfit")
  }

  package let code: Code
  /// What was wrong, and what to do where something can be done.
  package let message: String
  package var description: String { message }

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}
