import LinuxNetwork
import Testing

@Suite struct NetworkSocketListingTests {
  @Test("Sockets are read, and nonsense is not")
  func sockets() throws {
    let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
    let listing =
      heading
      + "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
      + "   1: 0B4D0A0A:A3F2 644D0A0A:0050 01 00000000:00000000 02:000A 00000000     0\n"
      + "1000: 00000000000000000000000001000000:1F90 0000:0000 0A\n"
    #expect(try SocketListing.ports(in: Array(listing.utf8)) == [22, 0xa3f2, 8080])
    #expect(try SocketListing.ports(in: Array(heading.utf8)) == [])
    for wrong in [
      "", "nothing\n", listing + "   3: 00000000:", heading + "junk\n",
      heading + "  0: 00000000:10000 00000000:0000 0A\n", heading + "  0: 22 00000000:0000 0A\n",
    ] {
      #expect(throws: SocketListing.Unusable.self) {
        try SocketListing.ports(in: Array(wrong.utf8))
      }
    }
  }
}
