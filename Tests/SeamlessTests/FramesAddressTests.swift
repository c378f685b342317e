import Frames
import Testing

@Suite("Addresses")
struct FramesAddressTests {
  @Test("A MAC address is read from text and written back")
  func macText() throws {
    let mac = try #require(MACAddress("52:54:00:AB:cd:0f"))
    #expect(mac.rawValue == 0x5254_00ab_cd0f)
    #expect(mac.description == "52:54:00:ab:cd:0f")
    #expect(MACAddress("52-54-00-ab-cd-0f") == mac)
  }

  @Test(
    "Text that is no MAC address is refused",
    arguments: [
      "", "52:54:00:ab:cd", "52:54:00:ab:cd:0g", "52:54:00:ab:cd:0f:", "5254.00ab.cd0f",
      "52:54-00:ab:cd:0f", "+2:54:00:ab:cd:0f", "52:54:00:ab:cd:0é",
    ])
  func macTextRefused(_ text: String) {
    #expect(MACAddress(text) == nil)
  }

  @Test("Random addresses are individual, local, and differ")
  func macRandom() {
    var generator = SeededGenerator(state: 1)
    var seen: Set<MACAddress> = []
    for _ in 0..<1000 {
      let mac = MACAddress.randomLocallyAdministered(using: &generator)
      #expect(!mac.isGroup && mac.isLocallyAdministered)
      seen.insert(mac)
    }
    #expect(seen.count == 1000)
    #expect(MACAddress.broadcast.isGroup)
  }

  @Test(
    "IPv6 text follows RFC 5952",
    arguments: [
      (0, 0, "::"), (0, 1, "::1"), (0xfe80 << 48, 0x5054_00ff_fe12_3456, "fe80::5054:ff:fe12:3456"),
      (0x2001_0db8_0000_0000, 1, "2001:db8::1"),
      (0x2001_0db8_0000_0001, 0x0001_0001_0001_0001, "2001:db8:0:1:1:1:1:1"),
      (0x2001_0db8_0000_0000, 0x0001_0000_0000_0001, "2001:db8::1:0:0:1"),
      (0x2001_0000_0000_0001, 0, "2001:0:0:1::"),
      (0xff02 << 48, 0x1_ff12_3456, "ff02::1:ff12:3456"),
    ] as [(UInt64, UInt64, String)])
  func ipv6Text(_ high: UInt64, _ low: UInt64, _ text: String) {
    #expect(IPv6Address(high: high, low: low).description == text)
  }

  @Test("Groups map to their Ethernet addresses")
  func groups() {
    #expect(IPv4Address(239, 255, 1, 2).multicastMAC == MACAddress("01:00:5e:7f:01:02"))
    let address = IPv6Address(high: 0xfe80 << 48, low: 0x5054_00ff_fe12_3456)
    #expect(address.solicitedNode.description == "ff02::1:ff12:3456")
    #expect(address.solicitedNode.multicastMAC == MACAddress("33:33:ff:12:34:56"))
    #expect(address.isLinkLocal && !address.isMulticast)
    #expect(address.solicitedNode.isReportedGroup && !IPv6Address.allNodes.isReportedGroup)
  }

  @Test("Only addresses that one machine can have can be owned")
  func ownable() {
    #expect(IPv4Address(10, 0, 0, 1).canBeOwned && IPv4Address(169, 254, 0, 1).canBeOwned)
    for address in [
      IPv4Address.unspecified, .broadcast, .allHosts, IPv4Address(127, 0, 0, 1),
      IPv4Address(240, 0, 0, 1), IPv4Address(0, 0, 0, 9),
    ] {
      #expect(!address.canBeOwned, "\(address)")
    }
    for address in [IPv6Address.unspecified, .allNodes, IPv6Address(high: 0, low: 1)] {
      #expect(!address.canBeOwned, "\(address)")
    }
  }

  @Test("The checksum agrees with a slow one for all lengths, and RFC 1071's example")
  func checksum() {
    var generator = SeededGenerator(state: 2)
    for length in 0..<200 {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
      var checksum = InternetChecksum()
      bytes.withUnsafeBytes { checksum.add($0) }
      #expect(Int(checksum.value) == slowChecksum(bytes))
    }
    let ones = Bytes(repeating: 0xff, count: 65535)
    var checksum = InternetChecksum()
    ones.withUnsafeBytes { checksum.add($0) }
    #expect(Int(checksum.value) == slowChecksum(ones))
    var example = InternetChecksum()
    ([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7] as Bytes).withUnsafeBytes { example.add($0) }
    #expect(example.value == ~0xddf2)
  }
}
