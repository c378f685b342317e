public import API

extension CreateRequest.Network {
  /// Reads `bridge=br0,mac=52:54:00:12:34:56`; the address may be left out.
  public init(option text: String) throws(APIError) {
    var bridge: String?
    var macAddress: String?
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      switch (pair.first, pair.count) {
      case ("bridge", 2) where bridge == nil: bridge = String(pair[1])
      case ("mac", 2) where macAddress == nil: macAddress = String(pair[1])
      default:
        throw APIError(
          .invalid, "\"\(part)\" has no meaning here; say bridge=NAME or bridge=NAME,mac=ADDRESS")
      }
    }
    guard let bridge else {
      throw APIError(.invalid, "the network has no bridge; say bridge=NAME")
    }
    self.init(bridge: bridge, macAddress: macAddress)
  }
}
