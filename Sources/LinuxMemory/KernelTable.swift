import LinuxSystem

/// Lines of the form `Name:   123 kB`, as in /proc/meminfo, /proc/PID/status and smaps_rollup.
struct KernelTable {
  private let bytesByName: [Substring: UInt64]

  init(path: String) throws(LinuxError) {
    self.init(parsing: try KernelFile.text(path))
  }

  init(parsing text: String) {
    self.init(lines: text.split(separator: "\n"))
  }

  /// Of several lines with the same name, the first counts.
  init(lines: some Sequence<Substring>) {
    var bytesByName: [Substring: UInt64] = [:]
    for line in lines {
      let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard fields.count == 3, fields[2] == "kB", fields[0].last == ":",
        let kibibytes = UInt64(fields[1])
      else { continue }
      bytesByName[fields[0].dropLast()] =
        kibibytes.multipliedReportingOverflow(by: 1024)
        .partialValue
    }
    self.bytesByName = bytesByName
  }

  /// The value in bytes, nil without such a line.
  subscript(_ name: String) -> UInt64? { bytesByName[name[...]] }
}
