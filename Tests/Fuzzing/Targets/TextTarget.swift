import API
import Commands
import FoundationEssentials

extension FuzzTarget {
  /// What people and programs write into commands and requests. Input: which, then the text.
  static let text = FuzzTarget("text", maximumLength: 1024) { input in
    var reader = InputReader(input)
    let choice = reader.byte()
    let bytes = reader.remainder()
    let text = String(decoding: bytes, as: UTF8.self)
    switch choice % 6 {
    case 0:
      if let size = try? Quantities.parse(bytes: text) { _ = Quantities.format(bytes: size) }
    case 1:
      guard let seconds = try? Quantities.parse(duration: text) else { return }
      try demand(seconds >= 0, "a duration below zero")
      _ = Quantities.format(seconds: seconds)
      if let idle = try? Quantities.parse(idleTime: text) {
        try demand((1...31_536_000).contains(idle), "an idle time out of bounds")
      }
    case 2:
      if let network = try? CreateRequest.Network(option: text) {
        try check(CreateRequest(name: "a", memoryBytes: 16 << 20, cpus: 1, networks: [network]))
      }
    case 3:
      guard let request = try? APICoding.decoder().decode(CreateRequest.self, from: Data(bytes))
      else { return }
      try check(request)
    case 4:
      guard let date = APICoding.date(from: text) else { return }
      _ = (APICoding.string(from: date), Quantities.format(date, relativeTo: Date()))
    default:
      var number: UInt64 = 0
      for byte in bytes.prefix(8) { number = number << 8 | UInt64(byte) }
      _ = Quantities.format(seconds: Double(bitPattern: number), rounded: bytes.count > 8)
      _ = Quantities.format(bytes: Int64(bitPattern: number))
    }
  }

  /// What is valid stays valid, and the daemon's bounds hold for it.
  private static func check(_ request: CreateRequest) throws {
    guard let valid = try? request.validated() else { return }
    try demand(try valid.validated() == valid, "a valid request is not valid once more")
    try demand(
      (1...63).contains(valid.name.utf8.count) && !valid.name.contains("/"), "a name as a path")
    for network in valid.networks {
      try demand(
        (1...15).contains(network.bridge.utf8.count) && !network.bridge.contains("/"), "a bridge")
    }
    for path in [valid.image, valid.kernel, valid.initrd] {
      try demand(path.map { $0.hasPrefix("/") && !$0.utf8.contains(0) } ?? true, "a path")
    }
  }
}
