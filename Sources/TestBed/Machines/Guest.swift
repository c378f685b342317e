/// What the lab knows of a guest: how to reach it.
public struct Guest: Sendable {
  /// The virtual machine's name, and that of its directory in the lab.
  public let name: String
  public let image: GuestImage
  public let disk: CopyOnWriteDisk
  public let addresses: LabAddresses
  /// What the kernel is started with.
  public let kernelArguments: String

  /// Makes a guest's disk and gives it addresses of a network. No virtual machine yet.
  public init(_ name: String, on network: LabNetwork, in lab: Lab) async throws {
    self.name = name
    image = try lab.guestImage()
    disk = try await CopyOnWriteDisk(of: image, in: try lab.makeDirectory("guest-\(name)-"))
    addresses = network.nextGuestAddresses()
    kernelArguments = GuestImage.kernelArguments(
      addresses: [addresses.ipv4WithPrefix, addresses.ipv6WithPrefix])
  }

  /// A guest that continues where another one was saved: with its addresses and its kernel, and a disk over
  /// its disk.
  public init(_ name: String, like template: Guest, in lab: Lab) async throws {
    self.name = name
    image = template.image
    disk = try await CopyOnWriteDisk(
      over: template.disk, in: try lab.makeDirectory("guest-\(name)-"))
    addresses = template.addresses
    kernelArguments = template.kernelArguments
  }

  /// Waits until sshd, nginx and the echo service answer, and echo requests too: the sentry answers those
  /// only for a guest that it has seen do so.
  public func waitUntilUp(from client: LabClient, within deadline: Duration = .seconds(60))
    async throws
  {
    for port in [22, 80, 7777] as [UInt16] {
      try await eventually("port \(port) of \(name) to answer", within: deadline) {
        let up = try await client.canConnect(to: addresses.ipv4, port: port)
        return up ? () : nil
      }
    }
    for address in addresses.both {
      let pinger = Pinger(from: client, to: address)
      try await eventually("\(name) to answer echo requests to \(address)", within: deadline) {
        try await pinger.ping() != nil ? () : nil
      }
    }
  }

  /// Runs one command inside, over ssh, and returns what it printed.
  @discardableResult
  public func run(
    _ command: String, from client: LabClient, within deadline: Duration = .seconds(30)
  ) async throws -> String {
    try await SSHSession.run(
      command, on: addresses.ipv4, from: client, image: image, within: deadline)
  }

  /// Makes the guest use so much memory, in a file in its RAM with random content.
  public func touchMemory(megabytes: Int, from client: LabClient) async throws {
    try await run(
      "mount -t tmpfs -o size=\(megabytes + 16)M tmpfs /mnt && "
        + "dd if=/dev/urandom of=/mnt/touched bs=1M count=\(megabytes) status=none",
      from: client, within: .seconds(120))
  }
}
