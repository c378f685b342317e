/// The first cluster of a qcow2 image (QEMU: docs/interop/qcow2.rst). The image is hostile input: every
/// field is checked before it is used, and what is not understood is refused.
struct QCOW2Header {
  static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xFB]

  let image: DiskImage

  /// - Parameter bytes: the beginning of the file, 64 KiB where it is that long.
  init(_ bytes: [UInt8]) throws(QEMUError) {
    let reader = Reader(bytes: bytes)
    let version = try reader.number(at: 4, bytes: 4)
    guard version == 2 || version == 3 else {
      throw QEMUError(.image, "is of version \(version) of qcow2; 2 and 3 are known")
    }
    let clusterBits = try reader.number(at: 20, bytes: 4)
    guard (9...21).contains(clusterBits) else { throw Reader.damaged("cluster size") }
    let size = try reader.number(at: 24, bytes: 8)
    guard size <= 1 << 63 - 1, size >= 512 else { throw Reader.damaged("size") }
    guard try reader.number(at: 32, bytes: 4) == 0 else {
      throw QEMUError(
        .image, "is encrypted, which is not supported: convert it with qemu-img convert")
    }
    if version == 3 { try QCOW2Header.checkFeatures(try reader.number(at: 72, bytes: 8)) }
    let headerLength = version == 3 ? try reader.number(at: 100, bytes: 4) : 72
    let cluster: UInt64 = 1 << clusterBits
    guard headerLength >= (version == 3 ? 104 : 72), headerLength <= cluster,
      headerLength.isMultiple(of: 8)
    else { throw Reader.damaged("header length") }

    let nameOffset = try reader.number(at: 8, bytes: 8)
    let nameLength = try reader.number(at: 16, bytes: 4)
    guard nameOffset != 0 else {
      image = DiskImage(format: .qcow2, virtualSize: size, backingFile: nil)
      return
    }
    guard nameOffset >= headerLength, (1...1023).contains(nameLength),
      nameOffset <= cluster, nameOffset + nameLength <= cluster
    else { throw Reader.damaged("backing file's name") }
    let name = try reader.text(at: nameOffset, bytes: nameLength)
    try QCOW2Header.checkBackingName(name)
    let extensions = try reader.extensions(from: headerLength, to: nameOffset)
    guard let format = extensions.first(where: { $0.type == Reader.backingFormat })?.text else {
      // QEMU would guess it from the backing file's content, which may be a guest's.
      throw QEMUError(
        .image,
        "does not say of which format its backing file is: use qemu-img rebase -u -F FORMAT -b FILE"
      )
    }
    guard let format = DiskFormat(rawValue: format) else {
      throw QEMUError(.image, "has a backing file of another format than raw or qcow2")
    }
    image = DiskImage(
      format: .qcow2, virtualSize: size, backingFile: .init(path: name, format: format))
  }

  private static func checkFeatures(_ features: UInt64) throws(QEMUError) {
    if features & 0b10 != 0 {
      throw QEMUError(.image, "is marked as corrupt: look at it with qemu-img check")
    }
    if features & 0b100 != 0 {
      throw QEMUError(
        .image, "keeps its data in another file, which is not supported: use qemu-img convert")
    }
    // Dirty, compression type, extended L2 entries.
    if features & ~0b11001 != 0 {
      throw QEMUError(.image, "needs features of qcow2 that are not known here")
    }
  }

  private static func checkBackingName(_ name: String) throws(QEMUError) {
    let beforeSlash = name.prefix { $0 != "/" }
    guard !beforeSlash.contains(":") else {
      throw QEMUError(.image, "names a backing file that is not a plain file")
    }
  }
}

/// Reading with bounds.
private struct Reader {
  static let backingFormat: UInt64 = 0xE279_2ACA

  let bytes: [UInt8]

  static func damaged(_ field: String) -> QEMUError {
    QEMUError(.image, "has a damaged qcow2 header: the \(field) makes no sense")
  }

  func number(at offset: UInt64, bytes count: Int) throws(QEMUError) -> UInt64 {
    var value: UInt64 = 0
    for byte in try slice(at: offset, bytes: UInt64(count)) { value = value << 8 | UInt64(byte) }
    return value
  }

  func text(at offset: UInt64, bytes count: UInt64) throws(QEMUError) -> String {
    let slice = try slice(at: offset, bytes: count)
    guard let text = String(validating: slice, as: UTF8.self),
      !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
    else { throw Reader.damaged("text in it") }
    return text
  }

  /// The header's extensions: type, length, data padded to eight bytes; type 0 ends them.
  func extensions(
    from start: UInt64, to end: UInt64
  ) throws(QEMUError) -> [(type: UInt64, text: String?)] {
    var found: [(type: UInt64, text: String?)] = []
    var offset = start
    while offset + 8 <= end {
      let type = try number(at: offset, bytes: 4)
      let length = try number(at: offset + 4, bytes: 4)
      offset += 8
      if type == 0 { break }
      guard length <= end - offset else { throw Reader.damaged("list of extensions") }
      found.append((type, try? text(at: offset, bytes: length)))
      offset += (length + 7) & ~7
    }
    return found
  }

  private func slice(at offset: UInt64, bytes count: UInt64) throws(QEMUError) -> ArraySlice<UInt8>
  {
    let size = UInt64(bytes.count)
    guard offset <= size, count <= size - offset else {
      throw QEMUError(.image, "has a qcow2 header that is cut off")
    }
    return bytes[Int(offset)..<Int(offset + count)]
  }
}
