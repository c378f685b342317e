import API
import ArgumentParser
import Client
import FoundationEssentials

struct Save: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Save a virtual machine as a template for others, and stop it.",
    discussion: """
      Writes memory and devices into a new directory. Then the machine is stopped, and its disk image \
      is what the template's machines see: give each a copy-on-write image over it, and do not start \
      the machine again.

      The template holds all secrets that are in the guest's memory, and all of its machines begin \
      with the same ones: keys, machine-id, the state of random number generators.

      Example: dormouse save web /srv/templates/web
      """)

  @OptionGroup var machine: NameArgument

  @Argument(
    help: "A directory that does not exist yet.", completion: .directory,
    transform: Paths.absolute)
  var directory: String

  @OptionGroup var output: FormatOptions
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    let (name, directory) = (machine.name, directory)
    let result = try await Progress.run("saving \(name)") {
      try await client.save(name, to: SaveRequest(directory: directory))
    }
    try Console.print(
      Output.render(
        result, as: output.format,
        sentence: "\(name) is saved in \(directory) and stopped; its image must stay as it is now"))
  }
}
