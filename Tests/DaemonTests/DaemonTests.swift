import API
import Daemon
import Failpoints
import Glibc
import LinuxSystem
import Templates
import Testing

@Suite("The daemon's own directory and names")
struct DaemonTests {
  /// A directory of the test's own, removed by it.
  private func withDirectory(_ body: (String) throws -> Void) throws {
    // Not $TMPDIR, which may be long: a socket's path has 107 bytes.
    var template = Array("/tmp/dormouse-daemon-tests-XXXXXX".utf8CString)
    let made = try #require(mkdtemp(&template))
    let path = String(cString: made)
    defer {
      for name in ["state/lock", "state/machines", "state", "source", "link", "copy", "pipe"] {
        remove("\(path)/\(name)")
      }
      rmdir(path)
    }
    try body(path)
  }

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }

  @Test func aStateDirectoryHasOneOwner() throws {
    try withDirectory { path in
      let directory = StateDirectory(path: path + "/state")
      do {
        let lock = try directory.claim()
        let error = #expect(throws: DaemonError.self) { _ = try directory.claim() }
        #expect(error?.code == .stateDirectoryInUse)
        #expect(error?.message.contains("--state-dir") == true)
        lock.close()
      }
      // The lock goes with its owner, however that ends.
      _ = try directory.claim()
    }
  }

  @Test func aStateDirectoryThatWasOpenIsClosed() throws {
    try withDirectory { path in
      mkdir(path + "/state", 0o777)
      chmod(path + "/state", 0o777)
      _ = try StateDirectory(path: path + "/state").claim()
      #expect(mode(path + "/state") == 0o700)
    }
  }

  @Test func somebodyElsesDirectoryIsRefused() throws {
    try withDirectory { path in
      mkdir(path + "/state", 0o777)
      try #require(chown(path + "/state", 12_345, 12_345) == 0, "this test must run as root")
      let error = #expect(throws: DaemonError.self) {
        _ = try StateDirectory(path: path + "/state").claim()
      }
      #expect(error?.code == .stateDirectory)
    }
  }

  @Test func whatALinkLeadsToIsCopiedAndTheOriginalStaysAsItIs() throws {
    try withDirectory { path in
      let file = OwnedFileDescriptor(
        owning: try checked("open", open(path + "/source", O_RDWR | O_CREAT, 0o600)))
      let content = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
      try #require(write(file.rawValue, content, content.count) == content.count)
      try #require(symlink("source", path + "/link") == 0)
      try BootFile.copy(path + "/link", to: path + "/copy")
      #expect(try KernelFile.bytes(path + "/copy") == content)
      #expect(mode(path + "/copy") == 0o444)
      #expect(mode(path + "/source") == 0o600)
    }
  }

  @Test func onlyRegularFilesAreCopied() throws {
    try withDirectory { path in
      try #require(mkfifo(path + "/pipe", 0o600) == 0)
      for source in [path, path + "/pipe", "/dev/zero", path + "/missing"] {
        let error = #expect(throws: APIError.self, "\(source)") {
          try BootFile.copy(source, to: path + "/copy")
        }
        #expect(error?.code == .invalid)
      }
    }
  }

  @Test func usersAndInterfaceNamesAreOfTheirForm() {
    for _ in 0..<1000 {
      let user = UserIDs.random()
      #expect(user != UserIDs.sentry)
      #expect(
        (1_879_048_192..<2_147_483_648).contains(user), "no account, container or signed number")
      let identifier = UserIDs.freshIdentifier()
      #expect(identifier.utf8.count == 8)
      #expect(identifier.allSatisfy { $0.isHexDigit && !$0.isUppercase })
    }
  }

  @Test(
    arguments: [
      (nil, nil), ("", nil), ("sleep.arming", nil), ("a=explode", nil), ("=,=kill=", nil),
      ("b=kill,a=halt", "a, b"), ("a=kill,,broken,c=halt", "a, c"),
    ] as [(String?, String?)])
  func failpointsAreReadLeniently(text: String?, summary: String?) {
    #expect(Failpoints(text).summary == summary)
  }

  @Test func failpointsThatAreNotSetDoNothing() {
    Failpoints("elsewhere=kill").reach("here")
  }
}
