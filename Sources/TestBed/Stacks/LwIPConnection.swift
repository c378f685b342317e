import FoundationEssentials
import Glibc
import LinuxNetwork
import LinuxSystem

/// A TCP connection of a machine at the bridge whose stack is lwIP, with a keepalive each second. The
/// machine is a program and its tap; it has no other connections.
public final class LwIPConnection: Sendable {
  public let addresses: LabAddresses
  private let process: LabProcess
  private let stream: Stream

  /// Compiles the program, starts it and connects.
  ///
  /// - Parameter address: numeric, IPv4 or IPv6; the machine has no address of the other family.
  /// - Throws: ``TestBedError/Code/command`` when it does not compile, ``TestBedError/Code/connection``.
  public init(
    on network: LabNetwork, in lab: Lab, to address: String, port: UInt16 = 7777,
    within deadline: Duration = .seconds(15)
  ) async throws {
    let directory = try lab.makeDirectory("lwip")
    let source = directory + "/lwip-client.c"
    try Data(PackageResources.lwip_client_c).write(to: URL(filePath: source))
    let program = directory + "/lwip-client"
    try await Command.run(
      "clang", "-O1", "-I/usr/include/lwip", "-o", program, source, "-llwip", "-lpthread")

    let (port1, addresses) = network.nextStranger()
    self.addresses = addresses
    let tap = try await network.host.perform { try Tap.open(named: port1) }
    try await network.attach(port1)
    // The program waits in its reads.
    let flags = fcntl(tap.descriptor.rawValue, F_GETFL)
    try checked(
      "let reads of a tap wait", fcntl(tap.descriptor.rawValue, F_SETFL, flags & ~O_NONBLOCK))
    let commands = try Pipe()
    let answers = try Pipe()
    process = try await LabProcess(
      [
        program, "3", addresses.macAddress,
        address.contains(":") ? addresses.ipv6 : addresses.ipv4, address, "\(port)",
      ],
      in: network.host, log: directory + "/log",
      descriptors: [
        0: commands.read.rawValue, 1: answers.write.rawValue, 3: tap.descriptor.rawValue,
      ])
    // The other ends close here: only the program holds them then, so that its end shows.
    stream = Stream(
      input: answers.takeRead(), output: commands.takeWrite(), peer: "lwIP to \(address)")
    try await expect("connected", after: nil, within: deadline)
  }

  /// Sends a text without line breaks, and waits until it has come back.
  ///
  /// - Returns: the time from just before sending to the arrival of the last byte.
  @discardableResult
  public func echo(_ text: String, within deadline: Duration = .seconds(10)) async throws
    -> Duration
  {
    let clock = ContinuousClock()
    let start = clock.now
    try await expect("sent", after: "send \(text)", within: deadline)
    try await expect(
      "received \(text)", after: "receive \(text.utf8.count)", within: deadline)
    return clock.now - start
  }

  /// Sends a text without line breaks.
  public func send(_ text: String, within deadline: Duration = .seconds(10)) async throws {
    try await expect("sent", after: "send \(text)", within: deadline)
  }

  /// Sends a FIN.
  public func finishSending(within deadline: Duration = .seconds(10)) async throws {
    try await expect("finished", after: "finish", within: deadline)
  }

  /// Waits for the peer's FIN.
  public func waitForEnd(within deadline: Duration = .seconds(10)) async throws {
    try await expect("ended", after: "end", within: deadline)
  }

  /// Sends a keepalive as BSD's stacks do: with one byte, whatever it is, before the next.
  public func probe(within deadline: Duration = .seconds(10)) async throws {
    try await expect("probed", after: "probe", within: deadline)
  }

  /// Whether the connection stands, as far as lwIP knows.
  public func isOpen(within deadline: Duration = .seconds(10)) async throws -> Bool {
    try await answer(to: "error", within: deadline) == "error 0"
  }

  /// Ends the machine without a word to anybody.
  public func kill() async throws { try await process.kill() }

  private func expect(
    _ wanted: String, after command: String?, within deadline: Duration
  ) async throws {
    let answer = try await answer(to: command, within: deadline)
    guard answer == wanted else {
      throw TestBedError(
        code: .connection,
        message: "lwIP answers \(answer.prefix(100).debugDescription), not \(wanted.prefix(100))")
    }
  }

  private func answer(to command: String?, within deadline: Duration) async throws -> String {
    let (line, _) = try await stream.exchange(
      command.map { Array(($0 + "\n").utf8) } ?? [], within: deadline
    ) { bytes in
      bytes.firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 }
    }
    return String(decoding: line.dropLast(), as: UTF8.self)
  }
}
