import Glibc
import LinuxSystem
import SystemPackage
import Testing

@Suite("Unix sockets")
struct SystemSocketTests {
  private let directory: TemporaryDirectory

  init() throws {
    directory = try TemporaryDirectory()
  }

  @Test func packetsKeepTheirBoundariesAndOrder() throws {
    let pair = try SequencedPacketSocket.pair()
    try pair.first.send([1, 2, 3])
    try pair.first.send([4])
    let one = try pair.second.packet(100, 0)
    #expect(one?.bytes == [1, 2, 3])
    #expect(one?.endOfStream == false)
    let two = try pair.second.packet(100, 0)
    #expect(two?.bytes == [4])
    #expect(try pair.second.packet(100, 0) == nil)
  }

  @Test func aPairComesApart() throws {
    let pair = try SequencedPacketSocket.pair()
    let first = pair.first
    let second = pair.second
    let raw = first.release()
    try second.send([7])
    let back = SequencedPacketSocket(owning: raw)
    let received = try back.packet(1, 0)
    #expect(received?.bytes == [7])
  }

  @Test func descriptorsArriveInOrderAndCloseUnlessTaken() throws {
    let pair = try SequencedPacketSocket.pair()
    let pipe = try Pipe()
    try pair.first.send([1], descriptors: [pipe.reading, pipe.writing])
    guard
      var received = try pair.second.receive(maximumBytes: 10, maximumDescriptors: 2)
    else {
      Issue.record("no packet")
      return
    }
    #expect(received.descriptorCount == 2)
    let taken = received.takeDescriptors()
    #expect(received.descriptorCount == 0)
    try #require(taken.count == 2)
    #expect(fcntl(taken[0], F_GETFD) & FD_CLOEXEC != 0)
    #expect(write(taken[1], "x", 1) == 1)
    var byte: UInt8 = 0
    #expect(read(taken[0], &byte, 1) == 1)
    closeAll(taken)

    let before = try openPipeEnds(pipe)
    try pair.first.send([2], descriptors: [pipe.reading, pipe.writing])
    do {
      let dropped = try pair.second.packet(10, 2)
      #expect(dropped?.descriptorCount == 2)
    }
    #expect(try openPipeEnds(pipe) == before)
  }

  /// Descriptors of this process that are ends of the pipe.
  private func openPipeEnds(_ pipe: borrowing Pipe) throws -> Int {
    var own = stat()
    try checked("fstat", fstat(pipe.reading, &own))
    return try KernelFile.names(in: "/proc/self/fd").compactMap(CInt.init).count {
      var other = stat()
      return fstat($0, &other) == 0 && other.st_ino == own.st_ino && other.st_dev == own.st_dev
    }
  }

  @Test func whatExceedsTheBoundsIsRefusedWithoutALeak() throws {
    let pair = try SequencedPacketSocket.pair()
    let pipe = try Pipe()
    let before = try openPipeEnds(pipe)
    try pair.first.send([1, 2, 3, 4])
    try pair.first.send([1], descriptors: [pipe.reading, pipe.reading])
    try pair.first.send([9])
    for _ in 0..<2 {
      do {
        _ = try pair.second.receive(maximumBytes: 3, maximumDescriptors: 1)
        Issue.record("a packet beyond the bounds was accepted")
      } catch {
        #expect(error.code == .malformed)
      }
    }
    let next = try pair.second.packet(3, 1)
    #expect(next?.bytes == [9])
    #expect(try openPipeEnds(pipe) == before)
  }

  @Test func theMostDescriptorsThatFitArrive() throws {
    let pair = try SequencedPacketSocket.pair()
    let pipe = try Pipe()
    let many = [CInt](repeating: pipe.reading, count: 253)
    try pair.first.send([1], descriptors: many)
    let received = try pair.second.packet(1, 253)
    #expect(received?.descriptorCount == 253)
    let tooMany = #expect(throws: LinuxError.self) {
      let pair = try SequencedPacketSocket.pair()
      try pair.first.send([1], descriptors: many + [pipe.reading])
    }
    #expect(tooMany?.code == .malformed)
  }

  @Test func aFullQueueIsNotTheEnd() throws {
    let pair = try SequencedPacketSocket.pair()
    let packet = [UInt8](repeating: 0, count: 1_000)
    var sent = 0
    do {
      while sent < 100_000 {
        try pair.first.send(packet)
        sent += 1
      }
      Issue.record("a queue without end")
    } catch {
      #expect(error.code == .exhausted)
    }
    var received = 0
    while let packet = try pair.second.packet(1_000, 0),
      !packet.endOfStream
    {
      received += 1
    }
    #expect(received == sent)
    try pair.first.send([1])
  }

  @Test func theEndComesAfterWhatWasSent() async throws {
    let pair = try SequencedPacketSocket.pair()
    let first = pair.first
    let second = pair.second
    // Unread data at the closing side makes the kernel report a reset first.
    try second.send([0])
    try first.send([1])
    first.release().close()
    #expect(try second.packet(10, 0)?.bytes == [1])
    #expect(
      try await ReadinessMonitor.shared.wait(
        untilReadable: second.descriptor, timeout: .seconds(10)))
    #expect(try second.packet(10, 0) == Packet(bytes: [], endOfStream: true, descriptorCount: 0))
    do {
      try second.send([1])
      Issue.record("a closed peer took a packet")
    } catch {
      #expect(error.code == .gone)
    }
  }

  @Test func anEmptyPacketIsRefused() throws {
    let pair = try SequencedPacketSocket.pair()
    do {
      try pair.first.send([])
      Issue.record("an empty packet was sent")
    } catch {
      #expect(error.code == .malformed)
    }
  }

  @Test func listeningConnectingAndCredentials() throws {
    let path = "\(directory.path)/control"
    let listener = try SequencedPacketSocket.listen(at: path, mode: 0o660)
    let nobodyWaits = try SequencedPacketSocket.accept(listener.rawValue) == nil
    #expect(nobodyWaits)
    let client = try SequencedPacketSocket.connect(to: path)
    guard let server = try SequencedPacketSocket.accept(listener.rawValue) else {
      Issue.record("no connection")
      return
    }
    try client.send([5])
    #expect(try server.packet(1, 0)?.bytes == [5])
    let peer = try server.peerCredentials()
    #expect(peer.pid == getpid())
    #expect(peer.uid == getuid())
    #expect(peer.gid == getgid())
  }

  @Test(arguments: [0o600, 0o666, 0o660] as [mode_t])
  func theModeIsExactWhateverTheUmaskIs(mode: mode_t) throws {
    let path = "\(directory.path)/stream"
    _ = try UnixListener.bind(path: path, mode: mode)
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o777 == mode)
  }

  @Test(arguments: [60, 107, 108, 400])
  func pathsOfAnyLength(length: Int) throws {
    var folder = directory.path
    while folder.utf8.count < length - 60 {
      folder += "/" + String(repeating: "d", count: min(50, length - 9 - folder.utf8.count))
      #expect(mkdir(folder, 0o700) == 0)
    }
    let path = folder + "/" + String(repeating: "s", count: length - folder.utf8.count - 1)
    try #require(path.utf8.count == length)
    let listener = try UnixListener.bind(path: path, mode: 0o600)
    let client = try UnixListener.connect(path: path)
    let accepted = accept(listener.rawValue, nil, nil)
    #expect(accepted >= 0)
    #expect(write(client.rawValue, "x", 1) == 1)
    var byte: UInt8 = 0
    #expect(read(accepted, &byte, 1) == 1)
    close(accepted)
  }

  @Test func aNameTooLongSaysSo() {
    let path = "\(directory.path)/" + String(repeating: "n", count: 120)
    let error = #expect(throws: LinuxError.self) {
      _ = try UnixListener.bind(path: path, mode: 0o600)
    }
    #expect(error?.code == .malformed)
    #expect(error?.message.contains("too long") == true)
  }

  @Test func anAbandonedSocketIsReplacedALiveOneAndAFileAreNot() async throws {
    let path = "\(directory.path)/socket"
    let first = try UnixListener.bind(path: path, mode: 0o600)
    let live = #expect(throws: LinuxError.self) {
      _ = try UnixListener.bind(path: path, mode: 0o600)
    }
    #expect(live?.errno == .addressInUse)
    let other = #expect(throws: LinuxError.self) {
      _ = try SequencedPacketSocket.listen(at: path, mode: 0o600)
    }
    #expect(other?.errno == .addressInUse)
    first.close()
    try await untilRefused(path)
    let refused = #expect(throws: LinuxError.self) { _ = try UnixListener.connect(path: path) }
    #expect(refused?.code == .gone)
    _ = try UnixListener.bind(path: path, mode: 0o600)

    let file = "\(directory.path)/precious"
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600))
    let precious = #expect(throws: LinuxError.self) {
      _ = try UnixListener.bind(path: file, mode: 0o600)
    }
    #expect(precious?.errno == .fileExists)
    #expect(access(file, F_OK) == 0)
    let missing = #expect(throws: LinuxError.self) {
      _ = try UnixListener.connect(path: "\(directory.path)/none")
    }
    #expect(missing?.code == .notFound)
  }
}

/// A child that another test forks at this moment holds a copy of every descriptor until its exec.
private func untilRefused(_ path: String) async throws {
  let deadline = ContinuousClock.now + .seconds(10)
  while ContinuousClock.now < deadline, (try? UnixListener.connect(path: path)) != nil {
    try await Task.sleep(for: .milliseconds(1))
  }
}

/// What a receive found, without its descriptors, which close.
private struct Packet: Equatable {
  let bytes: [UInt8]
  let endOfStream: Bool
  let descriptorCount: Int
}

extension SequencedPacketSocket {
  fileprivate borrowing func packet(_ maximumBytes: Int, _ maximumDescriptors: Int) throws
    -> Packet?
  {
    guard
      let received = try receive(
        maximumBytes: maximumBytes, maximumDescriptors: maximumDescriptors)
    else { return nil }
    return Packet(
      bytes: received.bytes, endOfStream: received.endOfStream,
      descriptorCount: received.descriptorCount)
  }
}
