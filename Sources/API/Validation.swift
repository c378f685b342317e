extension CreateRequest {
  /// The request with its MAC addresses in lower case and its image format settled, or the first
  /// thing that is wrong with it. Says nothing about what exists on the host.
  public func validated() throws(APIError) -> CreateRequest {
    var result = self
    try VirtualMachine.validate(name: name)
    if template != nil {
      try validateAsTemplates()
    } else {
      try validateSize()
      guard image != nil || kernel != nil else {
        throw APIError(.invalid, "there is nothing to boot: name an image, a kernel, or both")
      }
    }
    try validateBoot()
    if image != nil && imageFormat == nil {
      result.imageFormat = image?.hasSuffix(".qcow2") == true ? .qcow2 : .raw
    }
    guard networks.count <= 1 else {
      throw APIError(.invalid, "\(networks.count) networks are asked for; one is possible for now")
    }
    for index in result.networks.indices {
      try result.networks[index].validate()
    }
    try VirtualMachine.validate(idleAfterSeconds: idleAfterSeconds)
    return result
  }

  private func validateSize() throws(APIError) {
    let mebibyte: UInt64 = 1 << 20
    guard (16 * mebibyte...(16 << 40)).contains(memoryBytes), memoryBytes.isMultiple(of: mebibyte)
    else {
      throw APIError(
        .invalid,
        "memoryBytes is \(memoryBytes); it must be a multiple of 1 MiB from 16 MiB to 16 TiB")
    }
    guard (1...255).contains(cpus) else {
      throw APIError(.invalid, "cpus is \(cpus); it must be from 1 to 255")
    }
  }

  private func validateAsTemplates() throws(APIError) {
    guard memoryBytes == 0, cpus == 0, kernel == nil, initrd == nil, kernelCommandLine == nil else {
      throw APIError(
        .invalid, "memory, processors and kernel are the template's: leave them out, or at 0")
    }
  }

  private func validateBoot() throws(APIError) {
    if kernel == nil && (initrd != nil || kernelCommandLine != nil) {
      throw APIError(.invalid, "initrd and kernelCommandLine need a kernel")
    }
    if image == nil && imageFormat != nil {
      throw APIError(.invalid, "imageFormat needs an image")
    }
    let paths = [
      ("image", image), ("kernel", kernel), ("initrd", initrd), ("template", template),
    ]
    for (key, path) in paths {
      if let path { try validate(path: path, as: key) }
    }
    if let kernelCommandLine {
      // The kernel's own limit on x86 is 2048 bytes with the final zero (COMMAND_LINE_SIZE).
      guard kernelCommandLine.utf8.count < 2048,
        kernelCommandLine.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f })
      else {
        throw APIError(
          .invalid, "kernelCommandLine must be below 2048 bytes and without control characters")
      }
    }
  }
}

extension SettingsRequest {
  /// The request, or what is wrong with it.
  public func validated() throws(APIError) -> SettingsRequest {
    guard idle != nil || swapIn != nil else { throw APIError(.invalid, "nothing is to be changed") }
    try VirtualMachine.validate(idleAfterSeconds: idle?.afterSeconds)
    return self
  }
}

extension SaveRequest {
  /// The request, or what is wrong with it. Says nothing about what exists on the host.
  public func validated() throws(APIError) -> SaveRequest {
    try validate(path: directory, as: "directory")
    return self
  }
}

private func validate(path: String, as key: String) throws(APIError) {
  guard path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count < 4096 else {
    throw APIError(.invalid, "\(key) \"\(path)\" is not an absolute path")
  }
}

extension CreateRequest.Network {
  fileprivate mutating func validate() throws(APIError) {
    // What the kernel's dev_valid_name() takes, in ASCII.
    let bytes = bridge.utf8
    guard (1...15).contains(bytes.count), bridge != ".", bridge != "..",
      bytes.allSatisfy({
        $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":")
      })
    else {
      throw APIError(.invalid, "bridge \"\(bridge)\" is not a name that an interface can have")
    }
    guard let macAddress else { return }
    guard let normal = Self.normalized(macAddress: macAddress) else {
      throw APIError(
        .invalid, "macAddress \"\(macAddress)\" is not a unicast address such as 52:54:00:12:34:56")
    }
    self.macAddress = normal
  }

  /// A unicast MAC address in lower case; nil when the text is none.
  private static func normalized(macAddress: String) -> String? {
    let parts = macAddress.split(separator: ":", omittingEmptySubsequences: false)
    let octets = parts.compactMap { part -> UInt8? in
      guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit) else { return nil }
      return UInt8(part, radix: 16)
    }
    guard parts.count == 6, octets.count == 6, octets[0] & 1 == 0,
      octets.contains(where: { $0 != 0 })
    else { return nil }
    return macAddress.lowercased()
  }
}

extension VirtualMachine {
  /// Checks a VM's name: 1 to 63 lower-case letters, digits and hyphens, not starting with a hyphen.
  /// Such a name can be part of a path, a host name and a systemd unit without quoting.
  public static func validate(name: String) throws(APIError) {
    let bytes = Array(name.utf8)
    let valid = bytes.allSatisfy {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-")
    }
    guard valid, (1...63).contains(bytes.count), bytes.first != UInt8(ascii: "-") else {
      throw APIError(
        .invalid, "\"\(name)\" cannot be the name of a virtual machine",
        advice: "use 1 to 63 of a-z, 0-9 and -, not starting with -")
    }
  }

  /// Checks an idle time: at least one second and at most a year; nil is never.
  public static func validate(idleAfterSeconds: Double?) throws(APIError) {
    guard let idleAfterSeconds else { return }
    guard idleAfterSeconds.isFinite, (1...31_536_000).contains(idleAfterSeconds) else {
      throw APIError(
        .invalid,
        "idleAfterSeconds is \(idleAfterSeconds); it must be from 1 second to a year")
    }
  }
}
