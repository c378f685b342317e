import API
import ArgumentParser
import Client
import FoundationEssentials

struct Create: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Describe a new virtual machine.",
    discussion: """
      It boots from a disk image, or from a kernel directly, or from a kernel with an image as its \
      disk. It is not started yet: see "dormouse start".

      Example: dormouse create web --image /var/lib/images/web.qcow2 --memory 512M \
      --network bridge=br0,mac=52:54:00:12:34:56 --idle-after 60s
      """)

  @Argument(help: "Its name: a-z, 0-9 and -, at most 63 characters.")
  var name: String

  @Option(
    help: ArgumentHelp("Guest memory, such as 2G (default: 512M).", valueName: "size"),
    transform: Quantities.parse(bytes:))
  var memory: UInt64?

  @Option(help: ArgumentHelp("Virtual processors (default: 1).", valueName: "number"))
  var cpus: Int?

  @Option(
    help: ArgumentHelp("A disk image.", valueName: "file"), completion: .file(),
    transform: Paths.absolute)
  var image: String?

  @Option(
    help: ArgumentHelp(
      "How to read the image: raw or qcow2 (default: by the end of its name).", valueName: "format")
  )
  var imageFormat: CreateRequest.ImageFormat?

  @Option(
    help: ArgumentHelp(
      """
      A template (see "dormouse save"): the machine has its hardware, and its first start continues \
      where the template was saved. The image must be a copy-on-write one over the template's disk.
      """, valueName: "directory"),
    completion: .directory, transform: Paths.absolute)
  var template: String?

  @Option(
    help: ArgumentHelp("A kernel to boot directly.", valueName: "file"), completion: .file(),
    transform: Paths.absolute)
  var kernel: String?

  @Option(
    help: ArgumentHelp("The kernel's initial RAM disk.", valueName: "file"), completion: .file(),
    transform: Paths.absolute)
  var initrd: String?

  @Option(help: ArgumentHelp("The kernel's command line.", valueName: "text"))
  var append: String?

  @Option(
    help: ArgumentHelp(
      "A network interface: bridge=NAME or bridge=NAME,mac=ADDRESS.", valueName: "network"),
    transform: CreateRequest.Network.init(option:))
  var network: [CreateRequest.Network] = []

  @Option(
    help: ArgumentHelp(
      "Put it to sleep after so long without activity, such as 60s or 5m (default: never).",
      valueName: "time"),
    transform: IdleTime.init(text:))
  var idleAfter: IdleTime?

  @Option(help: SwapInMode.help)
  var swapIn: SwapInMode?

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let machine = try await client.create(
      CreateRequest(
        name: name, memoryBytes: memory ?? (template == nil ? 512 << 20 : 0),
        cpus: cpus ?? (template == nil ? 1 : 0), image: image, imageFormat: imageFormat,
        kernel: kernel, initrd: initrd, kernelCommandLine: append, networks: network,
        idleAfterSeconds: idleAfter?.seconds, swapIn: swapIn, template: template))
    try Console.print(
      Output.render(
        machine, as: output.format,
        sentence: "\(name) is created; start it with "
          + "\"dormouse start \(name)\""))
  }
}

extension CreateRequest.ImageFormat: ExpressibleByArgument {}

extension SwapInMode: ExpressibleByArgument {
  static var help: ArgumentHelp {
    ArgumentHelp(
      """
      What is read back from swap after a wake: lazy, what wakes use, or background, then slowly all \
      the rest (when created: lazy).
      """, valueName: "mode")
  }
}
