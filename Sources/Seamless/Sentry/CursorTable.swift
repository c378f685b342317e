import Frames
import Synchronization

/// What the sentry knows of one guest, in memory of a fixed layout that outlives the sentry.
///
/// The memory is a memfd mapping; after the sentry's death its successor attaches to it. Only
/// sentries write it, so its content is trusted but may be torn: the writer may have been killed
/// between two stores. Every group of fields that belong together is therefore bracketed: a slot by
/// a sequence number that is odd while it changes, other entries by a state byte that is zeroed
/// first and written last. What is found torn is forgotten, which at worst wakes the VM.
///
/// The layout, all integers in the machine's byte order:
///
///     0     u64  magic            8    u32  version        12  u32  bytes per slot
///     16    u32  slots            20   u32  header bytes   24  u64  seed of the hash
///     32    u64  generation       40   u8   phase          41  u8   TTL   42  u8  hop limit
///     43    u8   habits of the guest's answers
///     48    u64  the guest's MAC  56   u64  the last foreign MAC
///     64    u32  last frame from the guest, seconds        68  u32  last foreign MAC seen, seconds
///     72    u32  last time that an address found no room   80  u64  flows replaced
///     88    u64  the IPv4 gateway's MAC                    96   u64  the IPv6 gateway's MAC
///     104   u32  until when an IGMPv1 querier counts, seconds; 108 IGMPv2, 112 MLDv1
///     120   u64  one bit per region of slots that was ever used
///     128   32 addresses of 32 bytes, first 16 IPv4, then 16 IPv6
///     1152  32 IPv4 groups of 4 bytes        1280  32 IPv6 groups of 16 bytes
///     1792  64 closed UDP ports of 8 bytes
///     2304  which sleep the used ports hold for, and how far they are trusted
///     2320  tags of refusals, 8 of 32 bytes
///     2576  60 ways to peers of 24 bytes
///     4096  slots of 64 bytes, one per flow, in buckets of 16
///     then  bitmaps of ports, in blocks that take no memory until they are used: the ports that are used
///           with TCP and with UDP, refusals
///
/// A flow lives in one of three buckets that its key hashes to: one of the first page, one of the
/// next three pages, one of the rest, whichever has room first. So a guest with a few dozen flows
/// takes one page for them, and the rest of the memory is never touched: a region without its bit
/// is all zero, and not even read. When all three are full, a new flow replaces the one in them
/// that has been unseen for longest, half-open ones first: a forgotten flow costs a wake.
///
/// A table is a view: copies share the memory, which the caller keeps mapped for as long, and which
/// one thread uses at a time.
public struct CursorTable {
  public static let headerBytes = 4096
  public static let slotBytes = 64
  /// Flows that a table of the usual size holds.
  public static let defaultCapacity = 1024

  static let bucketSlots = 16
  static let magic: UInt64 = 0x6573_756f_6d72_6f64  // "dormouse" in memory
  static let version: UInt32 = 4

  let memory: UnsafeMutableRawBufferPointer
  /// How many flows fit.
  public let capacity: Int
  /// The guest's address on the link.
  public let guest: MACAddress
  let seed: UInt64

  /// Bytes of memory that a table for `capacity` flows needs.
  public static func byteCount(capacity: Int = defaultCapacity) -> Int {
    headerBytes + capacity * slotBytes + portBytes
  }

  /// Makes an empty table, whatever the memory held before.
  /// - Parameters:
  ///   - memory: aligned to 64 bytes, of a size that `byteCount(capacity:)` gives for a power of
  ///     two from 16 to 2^20.
  ///   - isZero: the memory is known to hold nothing but zeros, and need not be touched as a whole.
  ///   - seed: makes the places of flows unpredictable for their peers.
  /// - Throws: `.cursorMemory`.
  public init(
    formatting memory: UnsafeMutableRawBufferPointer, guest: MACAddress, isZero: Bool = false,
    seed: UInt64 = UInt64.random(in: .min ... .max)
  ) throws(SeamlessError) {
    let capacity = try Self.capacity(of: memory)
    self.memory = memory
    self.capacity = capacity
    self.guest = guest
    self.seed = seed
    // The magic goes first and comes last, so that a torn table is not taken for a whole one.
    store(UInt64(0), 0)
    fence()
    // Blocks of bitmaps are cleared when they are first used.
    if !isZero {
      UnsafeMutableRawBufferPointer(rebasing: memory[..<(memory.count - Self.portBytes)])
        .initializeMemory(as: UInt8.self, repeating: 0)
    }
    store(Self.version, 8)
    store(UInt32(Self.slotBytes), 12)
    store(UInt32(truncatingIfNeeded: capacity), 16)
    store(UInt32(Self.headerBytes), 20)
    store(seed, 24)
    store(guest.rawValue, 48)
    store(UInt8(64), 41)
    store(UInt8(64), 42)
    fence()
    store(Self.magic, 0)
  }

  /// Reads a table that another process has left, and forgets what that process left half-written.
  /// - Throws: `.cursorMemory`, or `.cursorFormat` if there is no table, or one of another layout
  ///   or size; the flows are then unknown, and the VM must be woken.
  public init(attaching memory: UnsafeMutableRawBufferPointer) throws(SeamlessError) {
    let capacity = try Self.capacity(of: memory)
    self.memory = memory
    self.capacity = capacity
    guard memory.load(fromByteOffset: 0, as: UInt64.self) == Self.magic else {
      throw SeamlessError(.cursorFormat, "the memory of the cursors holds no finished table")
    }
    let found = memory.load(fromByteOffset: 8, as: UInt32.self)
    guard found == Self.version else {
      throw SeamlessError(
        .cursorFormat, "the cursors have format \(found), this sentry reads \(Self.version)")
    }
    guard memory.load(fromByteOffset: 12, as: UInt32.self) == UInt32(Self.slotBytes),
      memory.load(fromByteOffset: 16, as: UInt32.self) == UInt32(truncatingIfNeeded: capacity),
      memory.load(fromByteOffset: 20, as: UInt32.self) == UInt32(Self.headerBytes)
    else {
      throw SeamlessError(.cursorFormat, "the table of the cursors does not have its memory's size")
    }
    seed = memory.load(fromByteOffset: 24, as: UInt64.self)
    guest = MACAddress(rawValue: memory.load(fromByteOffset: 48, as: UInt64.self))
    discardTornFlows()
  }

  private static func capacity(
    of memory: UnsafeMutableRawBufferPointer
  ) throws(SeamlessError) -> Int {
    let capacity = (memory.count - headerBytes - portBytes) / slotBytes
    guard let base = memory.baseAddress, UInt(bitPattern: base) % 64 == 0,
      memory.count == byteCount(capacity: capacity), capacity.nonzeroBitCount == 1,
      (bucketSlots...1 << 20).contains(capacity)
    else {
      throw SeamlessError(
        .cursorMemory,
        "\(memory.count) bytes are no memory for cursors: it takes a power of two of flows, aligned"
      )
    }
    return capacity
  }

  /// Counts the VM's sleeps; for the one who puts it to sleep to raise.
  public var generation: UInt64 {
    get { load(32) }
    nonmutating set { store(newValue, 32) }
  }

  /// What the sentry is doing for the VM; `nil` if the memory names no phase.
  public var phase: GuardPhase? {
    get { GuardPhase(memoryValue: load(40)) }
    nonmutating set { store(newValue?.memoryValue ?? .max, 40) }
  }

  /// TTL of the guest's IPv4 packets; 64 until one is seen.
  public internal(set) var timeToLive: UInt8 {
    get { load(41) }
    nonmutating set { if newValue != load(41, as: UInt8.self) { store(newValue, 41) } }
  }

  /// Hop limit of the guest's IPv6 packets; 64 until one is seen.
  public internal(set) var hopLimit: UInt8 {
    get { load(42) }
    nonmutating set { if newValue != load(42, as: UInt8.self) { store(newValue, 42) } }
  }

  /// The hop limit for answers in the family of `address`.
  func hopLimit(for address: IPAddress) -> UInt8 {
    switch address {
    case .v4: timeToLive
    case .v6: hopLimit
    }
  }

  /// When the guest last sent a frame, in seconds of the monotonic clock.
  var lastHeard: UInt32 {
    get { load(64) }
    nonmutating set { if newValue != load(64, as: UInt32.self) { store(newValue, 64) } }
  }

  /// The last source address on the guest's tap that is not the guest's, and when it was seen.
  var foreignSource: (mac: MACAddress, seen: UInt32)? {
    get {
      let seen = load(68, as: UInt32.self)
      return seen == 0 ? nil : (MACAddress(rawValue: load(56)), seen)
    }
    nonmutating set {
      store(newValue?.mac.rawValue ?? 0, 56)
      store(newValue?.seen ?? 0, 68)
    }
  }

  /// When an address of the guest's last found no room; 0 for never.
  var addressOverflow: UInt32 {
    get { load(72) }
    nonmutating set { store(newValue, 72) }
  }

  /// How many flows were forgotten to make room for others.
  public internal(set) var replacedFlows: UInt64 {
    get { load(80) }
    nonmutating set { store(newValue, 80) }
  }

  // MARK: - Raw access

  @inline(__always)
  func load<Value: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    memory.load(fromByteOffset: offset, as: type)
  }

  @inline(__always)
  func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, _ offset: Int) {
    memory.storeBytes(of: value, toByteOffset: offset, as: Value.self)
  }

  /// Keeps the compiler from moving stores across. A killed process's stores have all happened, in
  /// the order of its instructions, when another process reads.
  @inline(__always)
  func fence() {
    atomicMemoryFence(ordering: .acquiringAndReleasing)
  }

  /// The first slots of the buckets that a flow may be in, the ones that are touched first in front.
  func buckets(of key: FlowKey) -> [3 of Int?] {
    let (high, low) = key.remote.words
    let ports =
      UInt64(key.localPort) << 32 | UInt64(key.remotePort) << 16
      | UInt64(truncatingIfNeeded: key.localIndex)
    var hash = seed
    hash = mix(hash ^ high)
    hash = mix(hash ^ low)
    hash = mix(hash ^ ports)
    let buckets = capacity / Self.bucketSlots
    var found: [3 of Int?] = [nil, nil, nil]
    var start = 0
    for level in 0..<3 {
      let size = level == 2 ? buckets - start : min(Self.levelBuckets[level], buckets - start)
      guard size > 0 else { break }
      let choice = Int(((hash >> 33) * UInt64(size)) >> 31)
      found[level] = (start + choice) * Self.bucketSlots
      start += size
      hash = mix(hash)
    }
    return found
  }

  /// Buckets in the first page of slots, and in the three after it.
  private static let levelBuckets: [2 of Int] = [4, 12]

  // MARK: - Regions

  /// Which parts of the slots were ever used, the lowest bit for the first.
  private var usedRegions: UInt64 {
    get { load(Self.regionsOffset) }
    nonmutating set { store(newValue, Self.regionsOffset) }
  }

  static let regionsOffset = 120

  /// Slots that one bit stands for.
  private var regionSlots: Int { max(capacity / 64, Self.bucketSlots) }

  func isUsed(slot: Int) -> Bool { usedRegions & 1 << (slot / regionSlots) != 0 }

  /// To be called before the first byte of a slot is written.
  func use(slot: Int) {
    let bit: UInt64 = 1 << (slot / regionSlots)
    guard usedRegions & bit == 0 else { return }
    usedRegions |= bit
    fence()
  }

  /// Calls `body` with each slot that may hold something.
  func forEachUsedSlot(_ body: (Int) -> Void) {
    var bits = usedRegions
    while bits != 0 {
      let start = bits.trailingZeroBitCount * regionSlots
      bits &= bits - 1
      guard start < capacity else { continue }
      for slot in start..<start + regionSlots { body(slot) }
    }
  }
}

func mix(_ word: UInt64) -> UInt64 {
  let product = word &* 0x9e37_79b9_7f4a_7c15
  return product ^ product >> 29
}

extension GuardPhase {
  fileprivate init?(memoryValue: UInt8) {
    switch memoryValue {
    case 0: self = .learning
    case 1: self = .holding
    case 2: self = .answering
    case 3: self = .waking
    default: return nil
    }
  }

  fileprivate var memoryValue: UInt8 {
    switch self {
    case .learning: 0
    case .holding: 1
    case .answering: 2
    case .waking: 3
    }
  }
}
