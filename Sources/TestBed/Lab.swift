import FoundationEssentials
import Glibc
import Synchronization

/// The sandbox that `scripts/lab.sh` made around this process: namespaces, a directory and a swap file
/// that are gone when it ends, however it ends. Nothing here touches the machine outside of it.
public struct Lab: Sendable {
  /// The lab's own directory, on a disk, open to all users.
  public let directory: String
  /// The memory control group below which daemons make those of their virtual machines.
  public let controlGroup: String
  /// Where the sources are.
  public let checkout: String
  private let guests: String

  /// The lab that this process is in.
  ///
  /// - Throws: ``TestBedError/Code/unprepared`` outside of any.
  public static func current() throws -> Lab {
    guard let directory = environment("DORMOUSE_LAB"),
      let guests = environment("DORMOUSE_LAB_GUESTS"),
      let checkout = environment("DORMOUSE_LAB_CHECKOUT"),
      let controlGroup = environment("DORMOUSE_CONTROL_GROUP")
    else {
      throw TestBedError(
        code: .unprepared,
        message: """
          this needs the lab's network namespace and swap file; run `make test`, or put \
          scripts/lab.sh in front of the command
          """)
    }
    return Lab(
      directory: directory, controlGroup: controlGroup, checkout: checkout, guests: guests)
  }

  /// The guest image, as every user may read it.
  ///
  /// - Throws: ``TestBedError/Code/unprepared`` when it has not been made.
  public func guestImage() throws -> GuestImage { try image(.guest) }

  /// An image of this kind, as every user may read it.
  ///
  /// - Throws: ``TestBedError/Code/unprepared`` when it has not been made.
  func image(_ kind: GuestImage.Kind) throws -> GuestImage {
    let image = GuestImage(directory: guests + "/" + kind.recipe.hash)
    guard FileManager.default.fileExists(atPath: image.disk) else {
      throw TestBedError(
        code: .unprepared, message: "there is no \(kind.recipe.name); run `make image`")
    }
    return image
  }

  /// Makes an empty directory, open to all users, that no other call gets.
  public func makeDirectory(_ name: String) throws -> String {
    let path = "\(directory)/\(name)\(Self.nextNumber())"
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    return path
  }

  /// One of the programs under test: in `DORMOUSE_BIN_DIR`, or where this program or the tests
  /// were built.
  public func program(_ name: String) throws -> String {
    var places: [String] = []
    if let directory = environment("DORMOUSE_BIN_DIR") { places.append(directory) }
    if let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"),
      let slash = own.lastIndex(of: "/")
    {
      places.append(String(own[..<slash]))
    }
    for place in places where access("\(place)/\(name)", X_OK) == 0 { return "\(place)/\(name)" }
    throw TestBedError(
      code: .unprepared,
      message: "\(name) is not in \(places.joined(separator: " or ")); run `make build`")
  }

  /// Makes a network with a bridge and no clients yet.
  ///
  /// - Throws: ``TestBedError/Code/malformed`` after the 250th.
  public func makeNetwork() async throws -> LabNetwork {
    try await LabNetwork(number: Self.networks.take())
  }

  /// The swap file that lab.sh has made active, for a test that needs to take it away for a while.
  public var swapFile: SwapFile { SwapFile(path: directory + "/swap") }

  // MARK: - Numbers that nothing else in this lab has

  private static let lastNumber = Mutex(0)
  private static let networks = NumberPool(1...250)

  static func nextNumber() -> Int {
    lastNumber.withLock { number in
      number += 1
      return number
    }
  }

  static func giveBack(network number: Int) { networks.giveBack(number) }
}

/// Numbers in use once at a time.
private final class NumberPool: Sendable {
  private let free: Mutex<Set<Int>>

  init(_ range: ClosedRange<Int>) { free = Mutex(Set(range)) }

  func take() throws -> Int {
    try free.withLock { free in
      guard let number = free.min() else {
        throw TestBedError(code: .malformed, message: "too many networks at a time")
      }
      free.remove(number)
      return number
    }
  }

  func giveBack(_ number: Int) {
    free.withLock { _ = $0.insert(number) }
  }
}
