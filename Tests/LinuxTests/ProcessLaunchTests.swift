import Glibc
import LinuxProcess
import LinuxSystem
import SystemPackage
import Testing

@Suite("Launching")
struct ProcessLaunchTests {
  /// Runs a script with the configuration's other settings, and returns what it prints to 1.
  private func text(_ script: String, _ change: (inout LaunchConfiguration) -> Void = { _ in })
    async throws -> String
  {
    let pipe = try Pipe()
    var configuration = LaunchConfiguration(
      executable: "/bin/sh", arguments: ["-c", script], environment: ["PATH": searchPath],
      descriptors: [1: pipe.writing, 2: pipe.writing])
    change(&configuration)
    let child = try Child(configuration)
    let text = try await pipe.text()
    #expect(try await child.end() == .exited(0), "\(text)")
    return text
  }

  @Test func argumentsAndEnvironmentArePassedAndNothingElse() async throws {
    #expect(
      try await text("printf '%s|' \"$0\" \"$@\"") { $0.arguments += ["zero", "a b", "", "ü"] }
        == "zero|a b||ü|")
    #expect(
      try await text("tr '\\0' '|' </proc/$$/cmdline") { $0.name = "another" }.hasPrefix(
        "another|-c|"))
    setenv("DORMOUSE_TEST_LEAK", "1", 1)
    defer { unsetenv("DORMOUSE_TEST_LEAK") }
    let environment = try await text("cat /proc/self/environ | tr '\\0' '\\n'") {
      $0.environment = ["PATH": searchPath, "A": "x=y"]
    }
    #expect(environment.split(separator: "\n").contains("A=x=y"))
    #expect(!environment.contains("LEAK"))
  }

  @Test func directorySessionUmaskAndSignals() async throws {
    let pipe = try Pipe()
    signal(SIGUSR1, SIG_IGN)
    defer { signal(SIGUSR1, SIG_DFL) }
    let child = try Child(
      shell: "umask; pwd; grep -E '^Sig(Blk|Ign)' /proc/self/status; cat",
      descriptors: [
        1: pipe.writing, 0: pipe.reading,
      ])
    #expect(getsid(child.pid) == child.pid)
    #expect(getsid(child.pid) != getsid(0))
    // Its own output is its input: `cat` ends when it is killed.
    var printed = ""
    var byte: UInt8 = 0
    while printed.count(where: { $0 == "\n" }) < 4,
      try await ReadinessMonitor.shared.wait(untilReadable: pipe.reading, timeout: .seconds(5)),
      read(pipe.reading, &byte, 1) == 1
    {
      printed.append(Character(UnicodeScalar(byte)))
    }
    let zero = "0000000000000000"
    #expect(printed == "0077\n/\nSigBlk:\t\(zero)\nSigIgn:\t\(zero)\n")
  }

  @Test func onlyTheGivenDescriptorsAreOpen() async throws {
    // Open without close-on-exec, and yet not inherited.
    let leak = open("/dev/zero", O_RDONLY)
    defer { close(leak) }
    let one = try Pipe()
    let two = try Pipe()
    // Crosswise, onto each other's numbers: sources must not be overwritten before they are used.
    let child = try Child(
      shell: "exec sleep 60",
      descriptors: [one.writing: two.writing, two.writing: one.writing])
    try await child.untilRunning("sleep")
    let listed = try ProcessInspection.descriptors(of: child.pid)
    let expected = [0, 1, 2, one.writing, two.writing].sorted()
    #expect(listed.map(\.number) == expected)
    func inode(_ descriptor: CInt) -> String {
      var status = stat()
      fstat(descriptor, &status)
      return "pipe:[\(status.st_ino)]"
    }
    #expect(listed.first { $0.number == one.writing }?.target == inode(two.writing))
    #expect(listed.first { $0.number == two.writing }?.target == inode(one.writing))
  }

  @Test func whatCannotBeExecutedIsTheCallersError() throws {
    let missing = #expect(throws: LinuxError.self) {
      try launchDetached(LaunchConfiguration(executable: "/nonexistent/program"))
    }
    #expect(missing?.code == .notFound)
    #expect(missing?.message.contains("/nonexistent/program") == true)
    let directory = #expect(throws: LinuxError.self) {
      try launchDetached(LaunchConfiguration(executable: "/tmp"))
    }
    #expect(directory?.errno == .permissionDenied)
    let descriptor = #expect(throws: LinuxError.self) {
      try launchDetached(LaunchConfiguration(executable: "/bin/true", descriptors: [5: 9_999]))
    }
    #expect(descriptor?.errno == .badFileDescriptor)
    #expect(descriptor?.message.contains("descriptors") == true)
    let group = #expect(throws: LinuxError.self) {
      try launchDetached(
        LaunchConfiguration(
          executable: "/bin/true", controlGroupProcessFiles: ["/nonexistent/cgroup.procs"]))
    }
    #expect(group?.message.contains("control group") == true)
    let zero = #expect(throws: LinuxError.self) {
      try launchDetached(LaunchConfiguration(executable: "/bin/true", arguments: ["a\0b"]))
    }
    #expect(zero?.code == .malformed)
  }

  @Test func credentialsAndCapabilitiesAreCutDown() async throws {
    let status = try await text("cat /proc/self/status") {
      $0.credentials = Credentials(
        uid: 12_345, gid: 23_456, supplementaryGroups: [34_567],
        ambientCapabilities: [.netAdmin, .netRaw])
    }
    func field(_ name: String) -> [Substring] {
      status.split(separator: "\n").first { $0.hasPrefix("\(name):") }?
        .split(whereSeparator: { $0 == "\t" || $0 == " " }).dropFirst().map { $0 } ?? []
    }
    #expect(field("Uid") == ["12345", "12345", "12345", "12345"])
    #expect(field("Gid") == ["23456", "23456", "23456", "23456"])
    #expect(field("Groups") == ["34567"])
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
      #expect(field(set) == ["0000000000003000"], "\(set)")
    }
    #expect(field("NoNewPrivs") == ["1"])
  }

  @Test func noCapabilityIsLeftByDefault() async throws {
    let status = try await text("grep -E '^(Cap|Groups)' /proc/self/status") {
      $0.credentials = Credentials(uid: 12_345, gid: 23_456)
    }
    let lines = status.split(separator: "\n")
    #expect(lines.count == 6)
    for line in lines where line.hasPrefix("Cap") { #expect(line.hasSuffix("\t0000000000000000")) }
    #expect(lines.contains { $0.hasPrefix("Groups:") && !$0.contains { $0.isNumber } })
  }
}
