internal import LinuxMemory
public import LinuxProcess

/// Made while a VM sleeps, for the moment of its wake: what to read ahead in which order, and where to look
/// for what is used. Holds nothing open.
public struct WakePlan: Sendable, Hashable {
  /// The record that it was made from.
  public let record: WakeRecord
  /// QEMU's own pages, in the order of use.
  let own: [Range<UInt>]
  /// The guest's, as offsets of its RAM.
  let guest: [Range<UInt64>]
  /// Where the guest's RAM is.
  public let place: GuestMemory.Place
  /// All that is paged out, guest RAM and QEMU's own.
  let watched: [Range<UInt>]
  /// What the page-out has left in memory.
  let stayed: [Range<UInt>]

  /// What is remembered of pages that stayed is bounded; of the rest it is believed that they left.
  private static let maximumStayed = 4_096

  /// - Parameters:
  ///   - record: from earlier wakes; what is no longer mapped is left out.
  ///   - process: the QEMU of a VM that sleeps.
  /// - Throws: `LinuxError` when the process has ended or cannot be looked into.
  public init(
    record: WakeRecord, memory place: GuestMemory.Place, of process: borrowing ProcessHandle
  ) throws {
    let pid = process.identity.pid
    let ownMemory = try OwnMemory(of: pid, beside: place)
    let map = try PageMap(pid: pid)
    var stayed: [Range<UInt>] = []
    let watched = AddressRanges.merged(place.addresses + ownMemory.addresses)
    for range in watched where stayed.count < Self.maximumStayed {
      stayed += try map.presentRanges(in: range)
    }
    let order = record.order
    self.record = record
    self.place = place
    self.watched = watched
    self.stayed = Array(stayed.prefix(Self.maximumStayed))
    own = order.flatMap { AddressRanges.intersect(ownMemory.addresses, with: $0) }
    guest = place.offsets(of: order)
  }

  /// Bytes that are to be read ahead.
  public var bytes: UInt64 { record.bytes }
}
