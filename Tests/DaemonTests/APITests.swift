import API
import FoundationEssentials
import Testing

@Suite("API")
struct APITests {
  private let moment = Date(timeIntervalSince1970: 1_767_225_600.25)

  @Test("Keys and forms of values do not change")
  func stableKeys() throws {
    let machine = VirtualMachine(
      name: "web", state: .fallingAsleep, stateSince: moment, pid: 7, memoryBytes: 536_870_912,
      cpus: 2,
      networks: [.init(bridge: "br0", macAddress: "52:54:00:00:00:01", addresses: ["10.0.0.2"])],
      idleAfterSeconds: 60, sleeps: 1)
    let text = String(decoding: try APICoding.encoder().encode(machine), as: UTF8.self)
    #expect(
      text == #"""
        {"cpus":2,"idleAfterSeconds":60,"memoryBytes":536870912,"name":"web","networks":\#
        [{"addresses":["10.0.0.2"],"bridge":"br0","macAddress":"52:54:00:00:00:01"}],\#
        "obstacles":[],"pid":7,"sleeps":1,"state":"fallingAsleep",\#
        "stateSince":"2026-01-01T00:00:00.250Z","swapIn":"lazy","wakes":0}
        """#)
    #expect(
      try APICoding.decoder().decode(VirtualMachine.self, from: Data(text.utf8)) == machine)
  }

  @Test("Times are read with and without a fraction, and nothing else is")
  func times() {
    #expect(APICoding.date(from: "2026-01-01T00:00:00.250Z") == moment)
    #expect(
      APICoding.date(from: "2026-01-01T00:00:00Z") == Date(timeIntervalSince1970: 1_767_225_600))
    #expect(APICoding.date(from: "yesterday") == nil)
    #expect(APICoding.date(from: "") == nil)
  }

  @Test("A kind of event and a code that are not known survive")
  func unknownKinds() throws {
    let text =
      #"{"at":"2026-01-01T00:00:00Z","details":{},"kind":"yodelled","message":"","#
      + #""sequence":3}"#
    let event = try APICoding.decoder().decode(Event.self, from: Data(text.utf8))
    #expect(event.kind.rawValue == "yodelled")
    #expect(APIError(.init(rawValue: "odd"), "").httpStatus == 500)
  }

  @Test("Settings must say something, and \"never\" is said as null")
  func settings() throws {
    let never = try APICoding.encoder().encode(SettingsRequest(idle: .never))
    #expect(String(decoding: never, as: UTF8.self) == #"{"idleAfterSeconds":null}"#)
    let read = try APICoding.decoder().decode(SettingsRequest.self, from: never)
    #expect(read == SettingsRequest(idle: .never))
    for (text, settings) in [
      (#"{"swapIn":"background"}"#, SettingsRequest(swapIn: .background)),
      (
        #"{"idleAfterSeconds":5,"swapIn":"lazy"}"#,
        SettingsRequest(idle: .after(seconds: 5), swapIn: .lazy)
      ),
    ] {
      let written = try APICoding.encoder().encode(settings)
      #expect(String(decoding: written, as: UTF8.self) == text)
      #expect(try APICoding.decoder().decode(SettingsRequest.self, from: written) == settings)
    }
    for text in ["{}", #"{"swapIn":null}"#, #"{"swapIn":"eager"}"#] {
      #expect(throws: DecodingError.self) {
        try APICoding.decoder().decode(SettingsRequest.self, from: Data(text.utf8))
      }
    }
    #expect(throws: APIError.self) { try SettingsRequest().validated() }
  }

  @Test(
    "Names that cannot be",
    arguments: ["", "-a", "A", "a_b", "a.b", "a/b", "..", "ä", "a b", "a\n"]
      + [String(repeating: "a", count: 64)])
  func wrongNames(name: String) {
    let error = #expect(throws: APIError.self) { try VirtualMachine.validate(name: name) }
    #expect(error?.code == .invalid)
    #expect(error?.advice != nil)
  }

  @Test("Names that can be", arguments: ["a", "0", "web-1", "a-"])
  func rightNames(name: String) throws {
    try VirtualMachine.validate(name: name)
    try VirtualMachine.validate(name: String(repeating: "a", count: 63))
  }

  private static let good = CreateRequest(
    name: "web", memoryBytes: 512 << 20, cpus: 1, image: "/images/web.qcow2",
    networks: [.init(bridge: "br0", macAddress: "52:54:00:AB:00:01")], idleAfterSeconds: 60)

  @Test("A good request gets its image format and a lower-case address")
  func goodRequest() throws {
    let request = try Self.good.validated()
    #expect(request.imageFormat == .qcow2)
    #expect(request.networks.first?.macAddress == "52:54:00:ab:00:01")
    var raw = Self.good
    raw.image = "/images/web.img"
    #expect(try raw.validated().imageFormat == .raw)
    raw.imageFormat = .qcow2
    #expect(try raw.validated().imageFormat == .qcow2)
  }

  /// A way to spoil a request, and a word of the complaint.
  struct Spoilt: Sendable, CustomTestStringConvertible {
    let word: String
    let spoil: @Sendable (inout CreateRequest) -> Void
    var testDescription: String { word }

    init(_ word: String, _ spoil: @escaping @Sendable (inout CreateRequest) -> Void) {
      self.word = word
      self.spoil = spoil
    }
  }

  @Test(
    "Requests that are refused, and what is said",
    arguments: [
      Spoilt("memoryBytes") { $0.memoryBytes = (512 << 20) + 1 },
      Spoilt("memoryBytes") { $0.memoryBytes = 1 << 20 },
      Spoilt("memoryBytes") { $0.memoryBytes = .max },
      Spoilt("cpus") { $0.cpus = 0 },
      Spoilt("cpus") { $0.cpus = 256 },
      Spoilt("nothing to boot") { $0.image = nil },
      Spoilt("are the template's") { $0.template = "/t" },
      Spoilt("template \"t\"") {
        $0.template = "t"
        $0.memoryBytes = 0
        $0.cpus = 0
      },
      Spoilt("image \"web.img\"") { $0.image = "web.img" },
      Spoilt("image") { $0.image = "/a\0b" },
      Spoilt("need a kernel") { $0.initrd = "/initrd" },
      Spoilt("need a kernel") { $0.kernelCommandLine = "quiet" },
      Spoilt("kernelCommandLine") {
        $0.kernel = "/vmlinuz"
        $0.kernelCommandLine = "a\nb"
      },
      Spoilt("imageFormat") {
        $0.kernel = "/vmlinuz"
        $0.image = nil
        $0.imageFormat = .raw
      },
      Spoilt("2 networks") { $0.networks += $0.networks },
      Spoilt("bridge") { $0.networks[0].bridge = "sixteen-letters-" },
      Spoilt("bridge") { $0.networks[0].bridge = "a/b" },
      Spoilt("bridge") { $0.networks[0].bridge = "a b" },
      Spoilt("macAddress") { $0.networks[0].macAddress = "52:54:00:00:00" },
      Spoilt("macAddress") { $0.networks[0].macAddress = "53:54:00:00:00:01" },
      Spoilt("macAddress") { $0.networks[0].macAddress = "00:00:00:00:00:00" },
      Spoilt("macAddress") { $0.networks[0].macAddress = "52:54:00:00:00:+1" },
      Spoilt("idleAfterSeconds") { $0.idleAfterSeconds = 0 },
      Spoilt("idleAfterSeconds") { $0.idleAfterSeconds = .nan },
      Spoilt("idleAfterSeconds") { $0.idleAfterSeconds = .infinity },
    ])
  func badRequests(spoilt: Spoilt) {
    var request = Self.good
    spoilt.spoil(&request)
    let error = #expect(throws: APIError.self) { _ = try request.validated() }
    #expect(error?.code == .invalid)
    #expect(error?.message.contains(spoilt.word) == true, "\(error?.message ?? "no error")")
  }

  @Test("A report with a failure is not ok; one with a warning is")
  func doctor() {
    let warning = DoctorReport.Finding(check: "swap", status: .warning, message: "")
    let failure = DoctorReport.Finding(check: "tun", status: .failure, message: "")
    #expect(DoctorReport(findings: [warning]).ok)
    #expect(!DoctorReport(findings: [warning, failure]).ok)
  }
}
