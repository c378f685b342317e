import Glibc
import LinuxProcess
import LinuxSystem
import SystemPackage
import Testing

@Suite("Memory control groups")
struct ProcessControlGroupTests {
  /// A made-up root with a control group file system of version 2.
  private struct FakeRoot {
    let directory: TemporaryDirectory
    var path: String { directory.path }
    let base: String

    init(mountinfo: [String], controllers: String = "cpu memory pids\n") throws {
      directory = try TemporaryDirectory()
      base = "\(directory.path)/sys/fs/cgroup"
      for part in ["proc", "proc/self", "sys", "sys/fs", "sys/fs/cgroup"] {
        try checked("mkdir", mkdir("\(directory.path)/\(part)", 0o755))
      }
      try put(mountinfo.joined(separator: "\n") + "\n", in: "\(path)/proc/self/mountinfo")
      try put(controllers, in: "\(base)/cgroup.controllers")
      try put("cpu memory\n", in: "\(base)/cgroup.subtree_control")
    }

    func put(_ text: String, in file: String) throws {
      close(try checked("open", open(file, O_CREAT | O_TRUNC | O_WRONLY, 0o600)))
      try KernelFile.write(text, to: file)
    }
  }

  private static let v2 =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
  private static let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"

  @Test func versionTwoIsPreferredWhenItHasMemory() throws {
    let root = try FakeRoot(mountinfo: [Self.v1, Self.v2])
    let hierarchy = try MemoryControlGroup.detect(root: root.path)
    #expect(hierarchy.version == .v2)
    #expect(hierarchy.base == root.base)
  }

  @Test func versionOneIsTakenWhenVersionTwoHasNoMemory() throws {
    let root = try FakeRoot(mountinfo: [Self.v2, Self.v1], controllers: "hugetlb\n")
    let hierarchy = try MemoryControlGroup.detect(root: root.path)
    #expect(hierarchy.version == .v1)
    #expect(hierarchy.base == "\(root.base)/memory")
  }

  @Test func aHostWithoutThemIsUnsupported() throws {
    let root = try FakeRoot(mountinfo: ["garbage", "1 2 - x"], controllers: "")
    let error = #expect(throws: LinuxError.self) {
      try MemoryControlGroup.detect(root: root.path)
    }
    #expect(error?.code == .unsupported)
  }

  @Test func versionTwoPassesMemoryDownButNotIntoTheGroupItself() throws {
    let root = try FakeRoot(mountinfo: [Self.v2])
    try checked("mkdir", mkdir("\(root.base)/dormouse", 0o755))
    try root.put("", in: "\(root.base)/dormouse/cgroup.subtree_control")
    let group = try MemoryControlGroup.detect(root: root.path).create(at: "dormouse/vm")
    #expect(group.path == "\(root.base)/dormouse/vm")
    #expect(group.processFile == "\(root.base)/dormouse/vm/cgroup.procs")
    #expect(
      try KernelFile.text("\(root.base)/dormouse/cgroup.subtree_control") == "+memory")
    #expect(try KernelFile.text("\(root.base)/cgroup.subtree_control") == "cpu memory\n")
    #expect(access("\(group.path)/cgroup.subtree_control", F_OK) != 0)
  }

  @Test func versionTwoCountsAndReclaimsWhatIsInTheSwapCache() throws {
    let root = try FakeRoot(mountinfo: [Self.v2])
    let group = try MemoryControlGroup.detect(root: root.path).create(at: "vm")
    try root.put("9000000\n", in: "\(group.path)/memory.current")
    try root.put("anon 5\nswapcached 8000000\nwriteback 0\n", in: "\(group.path)/memory.stat")
    try root.put("", in: "\(group.path)/memory.reclaim")
    #expect(try group.usageBytes() == 9_000_000)
    #expect(try group.swapCachedBytes() == 8_000_000)
    #expect(try group.currentSwapBytes() == 0)
    // Nothing changes in a made-up group: the attempts must end by themselves.
    #expect(try group.dropSwapCache() == 0)
    #expect(try KernelFile.text("\(group.path)/memory.reclaim") == "8000000 swappiness=max")
    try group.clearLimits()
  }

  @Test func anUnfinishedWritebackIsNotWaitedForLongerThanAllowed() throws {
    let root = try FakeRoot(mountinfo: [Self.v2])
    let group = try MemoryControlGroup.detect(root: root.path).create(at: "vm")
    try root.put("swapcached 8000000\nwriteback 8000000\n", in: "\(group.path)/memory.stat")
    try root.put("", in: "\(group.path)/memory.reclaim")
    let started = ContinuousClock.now
    try group.dropSwapCache(settlingFor: .milliseconds(50))
    #expect(ContinuousClock.now - started >= .milliseconds(50))
    #expect(ContinuousClock.now - started < .seconds(5))
    var asked = 0
    try group.dropSwapCache(settlingFor: .seconds(60)) {
      asked += 1
      return asked < 3
    }
    #expect(ContinuousClock.now - started < .seconds(10))
  }

  @Test(arguments: ["", "/x", "x/", "a//b", "..", "a/../b", "."])
  func pathsThatLeadElsewhereAreRefused(path: String) throws {
    let error = #expect(throws: LinuxError.self) {
      try MemoryControlGroup.detect().create(at: path)
    }
    #expect(error?.code == .malformed)
  }

  @Test func aRealGroupIsMadeEnteredAndRemoved() async throws {
    let hierarchy = try MemoryControlGroup.detect()
    let name = "dormouse-test-\(getpid())-life"
    let parent = try hierarchy.group(at: name)
    let group = try hierarchy.create(at: "\(name)/vm")
    #expect(try hierarchy.create(at: "\(name)/vm") == group)
    defer {
      try? group.remove()
      try? parent.remove()
    }
    do {
      let child = try Child(shell: "exec sleep 60", groupFiles: [group.processFile])
      #expect(try KernelFile.text(group.processFile) == "\(child.pid)\n")
      #expect(try group.usageBytes() > 0)
      #expect(try group.swapCachedBytes() < 1 << 20)
      let busy = #expect(throws: LinuxError.self) { try group.remove() }
      #expect(busy?.errno == .resourceBusy)
      try child.handle.signal(SIGKILL)
      #expect(try await child.end() == .signaled(SIGKILL, coreDumped: false))
    }
    try group.clearLimits()
    try group.remove()
    #expect(access(group.path, F_OK) != 0)
    try group.remove()
    try parent.remove()
  }
}
