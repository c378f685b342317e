/// What a new VM shall be.
public struct CreateRequest: Codable, Sendable, Hashable {
  /// How a disk image is to be read. It is settled when the VM is created and never guessed from the
  /// content, which the guest can write.
  public enum ImageFormat: String, Codable, Sendable, Hashable, CaseIterable {
    /// The bytes of the disk, one after the other.
    case raw
    /// QEMU's own format.
    case qcow2
  }

  /// A network interface.
  public struct Network: Codable, Sendable, Hashable {
    /// An existing bridge in the daemon's network namespace.
    public var bridge: String
    /// The guest's address; absent: the daemon makes one up and keeps it.
    public var macAddress: String?

    /// A request from its parts.
    public init(bridge: String, macAddress: String? = nil) {
      self.bridge = bridge
      self.macAddress = macAddress
    }
  }

  /// Unique on this host; see ``validated()`` for what a name may be.
  public var name: String
  /// Guest RAM in bytes, a multiple of 1 MiB; 0 with a template, which decides it.
  public var memoryBytes: UInt64
  /// Virtual processors; 0 with a template.
  public var cpus: Int
  /// Absolute path of a disk image.
  public var image: String?
  /// How to read the image; absent: `qcow2` when its name ends in `.qcow2`, otherwise `raw`.
  public var imageFormat: ImageFormat?
  /// Absolute path of a kernel to boot directly.
  public var kernel: String?
  /// Absolute path of its initial RAM disk.
  public var initrd: String?
  /// Its command line.
  public var kernelCommandLine: String?
  /// Its interfaces: at most one, for now.
  public var networks: [Network]
  /// Seconds without activity after which it is put to sleep; absent: only by order.
  public var idleAfterSeconds: Double?
  /// What is read back after a wake; absent: `lazy`.
  public var swapIn: SwapInMode?
  /// Absolute path of a template whose hardware it has, and from whose state its first start continues.
  public var template: String?

  /// A request from its parts.
  public init(
    name: String, memoryBytes: UInt64, cpus: Int, image: String? = nil,
    imageFormat: ImageFormat? = nil, kernel: String? = nil, initrd: String? = nil,
    kernelCommandLine: String? = nil, networks: [Network] = [], idleAfterSeconds: Double? = nil,
    swapIn: SwapInMode? = nil, template: String? = nil
  ) {
    self.name = name
    self.memoryBytes = memoryBytes
    self.cpus = cpus
    self.image = image
    self.imageFormat = imageFormat
    self.kernel = kernel
    self.initrd = initrd
    self.kernelCommandLine = kernelCommandLine
    self.networks = networks
    self.idleAfterSeconds = idleAfterSeconds
    self.swapIn = swapIn
    self.template = template
  }
}

/// The body of `POST /v1/virtual-machines/{name}/save`.
public struct SaveRequest: Codable, Sendable, Hashable {
  /// Absolute path of a directory that does not exist yet, in one that does.
  public var directory: String

  /// A request from its parts.
  public init(directory: String) {
    self.directory = directory
  }
}

/// The body of `PATCH /v1/virtual-machines/{name}`: what is left out stays as it is.
public struct SettingsRequest: Codable, Sendable, Hashable {
  /// When a VM is put to sleep by itself.
  public enum Idle: Sendable, Hashable {
    /// Only by order; `null` in JSON.
    case never
    /// After so many seconds without activity.
    case after(seconds: Double)

    /// nil is never.
    public init(afterSeconds seconds: Double?) {
      self = seconds.map { .after(seconds: $0) } ?? .never
    }

    /// nil for never.
    public var afterSeconds: Double? {
      switch self {
      case .never: nil
      case .after(let seconds): seconds
      }
    }
  }

  /// When the VM is put to sleep; `idleAfterSeconds` in JSON.
  public var idle: Idle?
  /// What is read back after its wakes, from the next one on.
  public var swapIn: SwapInMode?

  /// A request from its parts.
  public init(idle: Idle? = nil, swapIn: SwapInMode? = nil) {
    self.idle = idle
    self.swapIn = swapIn
  }

  private enum CodingKeys: String, CodingKey {
    case idleAfterSeconds
    case swapIn
  }

  /// Reads the settings. One must be there: a body that changes nothing is a mistake.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    if container.contains(.idleAfterSeconds) {
      idle = Idle(
        afterSeconds: try container.decodeIfPresent(Double.self, forKey: .idleAfterSeconds))
    }
    swapIn = try container.decodeIfPresent(SwapInMode.self, forKey: .swapIn)
    guard idle != nil || swapIn != nil else {
      throw DecodingError.keyNotFound(
        CodingKeys.idleAfterSeconds,
        .init(codingPath: container.codingPath, debugDescription: "nothing to change"))
    }
  }

  /// Writes the settings, "never" as `null`.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    if let idle { try container.encode(idle.afterSeconds, forKey: .idleAfterSeconds) }
    try container.encodeIfPresent(swapIn, forKey: .swapIn)
  }
}
